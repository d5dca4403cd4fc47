"""Demonstrations that a learner cannot use are refused before it starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robo_reward.types import Episode

TINY = 0.05
"""Of the action range: demonstrations that never use more are in other units."""


def check_demonstrations(episodes: Sequence[Episode], action_size: int) -> None:
    """Raise ValueError for none at all, or for actions that are not the environment's, in [-1, 1] of its range.

    action_size: numbers of one of the environment's actions.
    """
    if not episodes:
        raise ValueError("no demonstrations to learn from: set collect.demos above 0, or give dataset= with some")
    for episode in episodes:
        if episode.action.shape[1] != action_size:
            raise ValueError(
                f"demonstration {episode.episode_id} has actions of {episode.action.shape[1]} numbers, the environment "
                f"takes {action_size}: give demonstrations of this environment"
            )
    reach = max(float(np.abs(episode.action).max()) for episode in episodes)
    if not TINY < reach <= 1 + 1e-5:
        raise ValueError(
            f"the demonstrations' actions reach {reach:.3g}, expected more than {TINY} and at most 1 of the "
            "environment's range: they are in other units, divide them by the largest step that it takes"
        )

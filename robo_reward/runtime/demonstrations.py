"""What base policy and learner are shown; what they cannot use is refused before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robo_reward.config import Config
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.worlds import action_size
from robo_reward.types import Episode

TINY = 0.05
"""Of the action range: demonstrations that never use more are in other units."""


def read_demonstrations(folder: Path, query_every: int = 1, views: tuple[str, ...] | None = None) -> list[Episode]:
    """The successes among a stage's demonstrations; a dataset may hold failures beside them, for the reward model.

    Arguments as of `read_split`.
    """
    return [episode for episode in read_split(folder, "demos", query_every, views) if episode.success]


def check_dataset(config: Config, folder: Path) -> None:
    """`check_demonstrations` on a dataset that was brought along; what is collected here is in the world's own units.

    folder: of `dataset_stage`.
    """
    if config.dataset is not None:
        check_demonstrations(read_demonstrations(folder, views=()), action_size(config))


def check_demonstrations(episodes: Sequence[Episode], size: int) -> None:
    """Raise ValueError for none at all, or for actions that are not the environment's, in [-1, 1] of its range.

    size: numbers of one of the environment's actions.
    """
    if not episodes:
        raise ValueError("no successful demonstration to learn from: give a dataset= with some (next.success)")
    for episode in episodes:
        if episode.action.shape[1] != size:
            raise ValueError(
                f"demonstration {episode.episode_id} has actions of {episode.action.shape[1]} numbers, the environment "
                f"takes {size}: give demonstrations of this environment"
            )
    reach = max(float(np.abs(episode.action).max()) for episode in episodes)
    if not TINY < reach <= 1 + 1e-5:
        raise ValueError(
            f"the demonstrations' actions reach {reach:.3g}, expected more than {TINY} and at most 1 of the "
            "environment's range: they are in other units, divide them by the largest step that it takes"
        )

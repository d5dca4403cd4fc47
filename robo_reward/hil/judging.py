"""A person's word on an episode in place of the world's: what a learner is rewarded by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robo_reward.hil.protocol import VERDICTS
from robo_reward.types import Episode


def judged(episode: Episode, label: str) -> Episode:
    """The episode as its label tells it: reward 1 at the end of a success, which is terminal, and none elsewhere.

    A failure or a partial success is no terminal state: what came after the cut or the time-out was not seen, so a
    learner bootstraps there.

    Raises:
        ValueError: the label is none of success, failure, partial.
    """
    if label not in VERDICTS:
        raise ValueError(f"label {label!r} says nothing of an outcome: choose {', '.join(VERDICTS)}")
    success, reward = label == "success", np.zeros_like(episode.reward)
    reward[-1] = success
    return replace(episode, reward=reward, success=success, terminated=success, truncated=not success)

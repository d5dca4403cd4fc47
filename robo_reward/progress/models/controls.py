"""What any reward model has to beat: values that know nothing of the task, at an episode's Q query frames.

Each control takes an episode and returns (Q,) values in [0, 1], computed causally.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from robo_reward.types import Episode


def counter(episode: Episode, horizon: int) -> Float[np.ndarray, "Q"]:
    """The clock: t / horizon. VOC 1 by construction."""
    return np.minimum(episode.frame_steps / horizon, 1.0)


def minus_length(episode: Episode, horizon: int) -> Float[np.ndarray, "Q"]:
    """1 - t / horizon: short episodes score high, which separates successes from time-outs without looking."""
    return 1.0 - counter(episode, horizon)


def constant(episode: Episode) -> Float[np.ndarray, "Q"]:
    """Always one half."""
    return np.full(len(episode.frame_steps), 0.5)


def pixel_change(episode: Episode) -> Float[np.ndarray, "Q"]:
    """Cumulative mean |pixel difference| over all views and consecutive query frames, unscaled (>= 0)."""
    change = np.zeros(len(episode.frame_steps))
    for frames in episode.frames.values():
        step = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)) / 255.0
        change[1:] += np.cumsum(step) / len(episode.frames)
    return change

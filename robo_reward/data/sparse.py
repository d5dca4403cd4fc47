"""Keeping only the frames that a reward model is asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robo_reward.types import Episode


def kept_steps(last: int, query_every: int) -> np.ndarray:
    """Observation indices 0, k, 2k, ... and `last`, int64, increasing. Raises ValueError when query_every < 1."""
    if query_every < 1:
        raise ValueError(f"query_every must be at least 1 step, got {query_every}")
    return np.unique(np.append(np.arange(0, last + 1, query_every), last)).astype(np.int64)


def to_training_episode(episode: Episode, query_every: int) -> Episode:
    """The same episode with the frames of every `query_every`-th observation and of the last one only.

    Raises ValueError when query_every < 1 or one of those frames is not stored in `episode`.
    """
    steps = kept_steps(len(episode), query_every)
    missing = np.setdiff1d(steps, episode.frame_steps)
    if len(missing):
        raise ValueError(
            f"episode {episode.episode_id} has no frame of observation {missing[0]}: it cannot be queried every "
            f"{query_every} steps"
        )
    at = np.searchsorted(episode.frame_steps, steps)
    return replace(episode, frame_steps=steps, frames={view: frames[at] for view, frames in episode.frames.items()})

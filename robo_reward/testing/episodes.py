"""Episodes for tests, in which nothing happens but what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robo_reward.progress.models.oracle import oracle_track
from robo_reward.types import Episode, PhiTrack


def make_episode(steps: int, name: str = "e", *, success: bool = True, **fields: Any) -> Episode:
    """An episode of zeros, one number wide, without pictures; a failure is one that took too long.

    Args:
        steps: T.
        name: its id.
        success: whether it terminates in one.
        fields: of `Episode`, in place of these. Pictures without `frame_steps` are those of every observation.
    """
    rows = np.zeros((steps + 1, 1), np.float32)
    frames, terminated = fields.get("frames", {}), fields.get("terminated", success)
    plain: dict[str, Any] = {
        "instruction": "insert", "source": "policy", "seed": 0, "agent_pos": rows, "estimate": rows,
        "action": rows[1:], "reward": rows[1:, 0], "stage": np.zeros(steps + 1, np.int64), "oracle": None,
        "terminated": terminated, "truncated": not terminated, "frames": frames,
        "frame_steps": np.arange(steps + 1 if frames else 0),
    }  # fmt: skip
    return Episode(episode_id=name, success=success, **(plain | fields))


def oracle(episodes: Sequence[Episode]) -> list[PhiTrack]:
    """The simulator's progress as every episode's potential."""
    return [oracle_track(episode) for episode in episodes]

"""Keeping the frames of query steps only."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.data.sparse import to_training_episode
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode


def episode(steps: int) -> Episode:
    frames = np.arange(steps + 1, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    zeros = np.zeros((steps + 1, 2), np.float32)
    return make_episode(
        steps, success=False, instruction="move", source="expert", seed=1, agent_pos=zeros, estimate=zeros,
        action=zeros[1:], oracle=np.zeros(steps + 1, np.float32), frames={"front": frames},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "every", "kept"),
    [(10, 4, [0, 4, 8, 10]), (8, 4, [0, 4, 8]), (3, 9, [0, 3]), (3, 1, [0, 1, 2, 3])],
)
def test_query_frames_and_the_last_one_are_kept(steps, every, kept):
    sparse = to_training_episode(episode(steps), every).validate()
    assert sparse.frame_steps.tolist() == kept
    assert sparse.frames["front"][:, 0, 0, 0].tolist() == kept


def test_thinning_twice_is_thinning_once():
    once, twice = to_training_episode(episode(20), 4), to_training_episode(to_training_episode(episode(20), 2), 4)
    assert np.array_equal(once.frame_steps, twice.frame_steps)
    assert np.array_equal(once.frames["front"], twice.frames["front"])


def test_a_cadence_that_the_stored_frames_lack_is_refused():
    with pytest.raises(ValueError, match="no frame of observation 3"):
        to_training_episode(to_training_episode(episode(20), 4), 3)
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        to_training_episode(episode(4), 0)

"""The success classifier of a session: what it learns from people's labels, and when it says nothing."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.hil.classifier import SuccessClassifier
from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.training import TrainSettings
from robo_reward.testing.episodes import make_episode

SETTINGS = TrainSettings(
    steps=40,
    model=CompactSettings(views=("front",), image_size=32, stages=1, channels=(8, 8, 8), features=32, hidden=32),
)


def episode(number, success, instruction="do", size=32, steps=6):
    """A bright corner in the last picture is what people call a success; the world never does."""
    rng, ones = np.random.default_rng(number), np.ones((steps + 1, 2), np.float32)
    frames = rng.integers(0, 60, (steps + 1, size, size, 3), dtype=np.uint8)
    if success:
        frames[-1, :16, :16] += 180
    return make_episode(
        steps, f"e{number}", success=success, terminated=False, instruction=instruction, seed=number, agent_pos=ones,
        estimate=ones, action=np.zeros((steps, 4), np.float32), reward=ones[1:, 0], oracle=ones[:, 0],
        frames={"front": frames},
    )  # fmt: skip


def test_it_tells_what_people_called_a_success():
    told, words = SuccessClassifier(SETTINGS), []
    assert told.learn([episode(n, n % 2 == 0) for n in range(12)], words.append)
    assert [told.success(episode(n, n % 2 == 0)) for n in range(20, 28)] == [True, False] * 4
    assert len(words) == 40 and words[-1] == "learning what success looks like: 39 of 40 steps"
    assert told.success(episode(30, True, "do something else")) is None


def test_it_says_nothing_before_it_saw_both_outcomes():
    told = SuccessClassifier(SETTINGS)
    assert not told.learn([episode(n, True) for n in range(3)], print)
    assert told.success(episode(9, True)) is None


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="view front is .* pixels, expected 32 square"):
        SuccessClassifier(SETTINGS).learn([episode(0, True, size=48), episode(1, False, size=48)], print)

"""A reward model in LeRobot's own processor step."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lerobot")

import robo_reward.lerobot_plugin  # noqa: F401 - cures torchvision before LeRobot's first import of it
from robo_reward.lerobot_plugin.reward import CompletionReward
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.references import Reference, References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.types import HopEstimate, HopQuery

TASK = "make it bright"


class Brightness:
    """The potential of a picture is its brightness."""

    model_id, settings = "brightness", SimpleNamespace(image_size=16)

    def hop(self, query: HopQuery) -> HopEstimate:
        phi = query.frames["front"].mean((1, 2, 3)) / 255
        hop = hop_from_potentials(phi[query.before_B], phi[query.after_B]).astype(np.float32)
        return HopEstimate(hop, np.ones_like(hop), np.ones(len(hop), bool))


@dataclass
class Trained:
    model: Any
    references: References
    tracker: TrackerSettings


@pytest.fixture
def reward() -> CompletionReward:
    dark, bright = (np.full((1, 16, 16, 3), level, np.uint8) for level in (0, 255))
    dark[:, 0], bright[:, 0] = 255, 0  # pictures of a single colour count as lost
    references = References({TASK: Reference({"front": dark}, {"front": bright})})
    tracker = TrackerSettings(every=1, fusion="forward", completion=CompletionRule(threshold=0.7, sustain=2))
    return CompletionReward(Trained(Brightness(), references, tracker), TASK)  # type: ignore[arg-type]


def transition(level: float) -> dict[Any, Any]:
    from lerobot.processor.core import TransitionKey

    picture = torch.full((1, 3, 32, 32), level)
    picture[..., :2, :] = 1 - level
    return {TransitionKey.OBSERVATION: {"observation.images.front": picture, "observation.state": torch.zeros(1, 3)},
            TransitionKey.REWARD: 0.0, TransitionKey.DONE: False, TransitionKey.INFO: {}}  # fmt: skip


def test_lerobots_step_ends_the_episode_where_the_rule_says_done(reward):
    from lerobot.processor.core import TransitionKey
    from lerobot.processor.hil_processor import RewardClassifierProcessorStep

    step = RewardClassifierProcessorStep(reward_classifier=reward)
    done = [step(transition(level)) for level in (0.1, 0.4, 0.95, 0.95, 0.95)]
    assert [t[TransitionKey.REWARD] for t in done] == [0, 0, 0, 1, 1]  # sustained over two queries
    assert [t[TransitionKey.DONE] for t in done] == [False, False, False, True, True]
    assert reward.progress.phi > 0.7


def test_a_reset_forgets_the_episode(reward):
    for level in (0.1, 0.95, 0.95):
        last = reward.predict_reward({"observation.images.front": torch.full((1, 3, 16, 16), level)})
    reward.reset()
    assert reward.progress.phi == 0 and not reward.progress.completed
    assert float(last) in (0.0, 1.0)


def test_an_instruction_without_references_is_refused(reward):
    with pytest.raises(ValueError, match="no reference demonstration for instruction 'sing'"):
        CompletionReward(reward._reward, "sing")

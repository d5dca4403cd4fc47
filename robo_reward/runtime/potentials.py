"""Where the potential of an episode comes from: the simulator, or the reward model of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from robo_reward.config import Config
from robo_reward.progress.models.oracle import oracle_track
from robo_reward.runtime.stages import StageResult
from robo_reward.shaping import contrasted, gated
from robo_reward.types import Episode, PhiTrack

if TYPE_CHECKING:
    from robo_reward.runtime.experience import Annotate


def make_annotate(config: Config, reward: StageResult | None) -> Annotate:
    """Episode -> the potential of its steps, under the one reward model of this run."""
    if reward is None and config.shaping.kind == "none":
        return lambda episodes: [_no_track(episode) for episode in episodes]
    if reward is None:
        return lambda episodes: [oracle_track(episode) for episode in episodes]
    return load_annotate(str(reward.path))


def learner_annotate(config: Config, reward: StageResult | None) -> Annotate:
    """`make_annotate`, with the tracks as the learner's shaping scheme wants them."""
    if config.shaping.kind == "contrast":
        return _contrast(reward)
    annotate = make_annotate(config, reward)
    if config.shaping.kind == "gated":
        return lambda episodes: [gated(e, track) for e, track in zip(episodes, annotate(episodes), strict=True)]
    return annotate


def _contrast(reward: StageResult | None) -> Annotate:
    from robo_reward.progress.scorer import load_scorer

    scorer = load_scorer(reward.path) if reward else None
    if scorer is None or len(scorer.instructions) < 2:
        raise ValueError(
            f"shaping=contrast compares the goal with others, and {'this reward model' if scorer else 'reward=oracle'} "
            "knows a single one: use reward=compact and a task with several, such as env=peg_insert"
        )
    known = scorer

    def annotate(episodes: Sequence[Episode]) -> list[PhiTrack]:
        by_goal = {goal: known.annotate(episodes, goal) for goal in known.instructions}
        return [
            contrasted(own, [tracks[n] for goal, tracks in by_goal.items() if goal != episode.instruction])
            for n, (episode, own) in enumerate(zip(episodes, known.annotate(episodes), strict=True))
        ]

    return annotate


def load_annotate(reward: str) -> Annotate:
    """`make_annotate` with the trained reward model in this folder."""
    from robo_reward.progress.scorer import load_scorer

    return load_scorer(reward).annotate


def _no_track(episode: Episode) -> PhiTrack:
    zeros = np.zeros(len(episode) + 1, np.float32)
    return PhiTrack("none", zeros, zeros)

"""The episode under way in a live session: who acts, what is recorded, what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from robo_reward.console.curves import Curves, Term
from robo_reward.evaluation.rollout import EpisodeRecorder, is_query
from robo_reward.hil.arbitration import Source
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.types import Episode, Progress

Watch = Callable[[Mapping[str, np.ndarray]], Progress]
"""A reward model that follows one episode: the views of the next observation -> progress."""
Frames = Mapping[str, np.ndarray]


class LiveEpisode:
    """One episode, step by step; what was seen of it stays when it has ended.

    Arguments:
        actor: the policy with the operator beside it.
        seed: of the initial state.
        observation: what the world's reset returned.
        info: likewise.
        frames: the views of that observation.
        watch: the reward model's eye on it; None without one.
        term: what shaping adds to a step's reward, to be drawn.
        query_every: [steps] between the frames that are kept.
    """

    def __init__(
        self, actor: CorrectedActor, seed: int, observation: Mapping[str, Any], info: Mapping[str, Any], frames: Frames,
        *, watch: Watch | None, term: Term | None, query_every: int,
    ) -> None:  # fmt: skip
        self.info, self.completed = info, False
        self.curves = Curves(term)
        self._actor, self._watch, self._query_every = actor, watch, query_every
        self._recorder = EpisodeRecorder(actor, seed, "policy", observation, info, frames)
        self.curves.begin(info["progress_oracle"], self._progress(frames))

    def __len__(self) -> int:
        return len(self._recorder)

    @property
    def ended(self) -> bool:
        """Whether the world has ended it."""
        return self._recorder.ended

    def step(self, env: gymnasium.Env[Any, Any], look: Callable[[], Frames]) -> Source:
        """Ask, act, look, record; returns who acted. A step in which the robot had a fault is left out."""
        action = self._recorder.action()
        decision, value = self._actor.decision, self._actor.value(action)
        assert decision is not None
        observation, reward, terminated, truncated, self.info = env.step(action)
        frames = look()
        if "fault" in self.info:
            self._recorder.cut(frames)
            return decision.source
        kept = frames if is_query(len(self) + 1, self._query_every, terminated or truncated) else None
        self._recorder.append(observation, reward, terminated, truncated, self.info, kept)
        self.curves.add(
            decision.source, self.info["progress_oracle"], self._progress(frames), reward=float(reward),
            ended=bool(terminated), gated=bool(self.info.get("gated", False)), value=value,
        )  # fmt: skip
        return decision.source

    def episode(self, frames: Frames) -> Episode:
        """What was recorded, at least a step; one that the world has not ended is cut here, with these views."""
        if not self.ended:
            self._recorder.cut(frames)
        return self._recorder.episode()

    def _progress(self, frames: Frames) -> Progress | None:
        seen = self._watch(frames) if self._watch is not None else None
        self.completed = seen is not None and seen.completed
        return seen

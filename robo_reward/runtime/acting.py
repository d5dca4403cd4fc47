"""Base plus residual as one policy, in one episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robo_reward.interfaces import Policy
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.policies.chunks import looked
from robo_reward.policies.inputs import policy_input
from robo_reward.progress.segmentation import EventSignal
from robo_reward.runtime.exploration import Exploration


class ResidualRollout:
    """Base plus residual plus exploration, bound to one running episode; the base's state starts fresh.

    Evaluation keeps `agent.evaluation_noise`: like the dither of a search controller it frees a peg that a
    deterministic policy leaves stuck, and the critic was trained with it.
    """

    def __init__(
        self,
        base: Policy,
        agent: ResidualTD3,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
        deployed: bool = False,
        contact: EventSignal | None = None,
    ) -> None:
        self.base, self.agent, self.rng, self.deployed = base, agent, rng, deployed
        self.explore = None if rng is None else Exploration(agent.settings, noise, rng, contact)
        self.state, self.base_id = base.initial_state(1), base.policy_id
        self.first_state = self.state
        self.info: Mapping[str, Any] = {}
        self._seen: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None

    def watch(self, info: Mapping[str, Any]) -> None:
        """Takes in what the environment says: a base that looks is shown it."""
        self.info = info

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phase_BK = self.base.phase(self.state)
        state = looked(self.base, self.state, self.info)
        base_BA, self.state = self.base.act(agent_pos[None], estimate[None], state)
        base = np.concatenate([base_BA[0], phase_BK[0]]).astype(np.float32)
        inputs = policy_input(agent_pos, estimate, self.agent.columns)
        eyes = self.agent.eyes
        frames = None if eyes is None else eyes.frames(self.info["views"])
        self._seen = inputs, base, frames
        action = self.agent.act(inputs, base, frames, deployed=self.deployed, rng=self.rng)
        return action if self.explore is None else self.explore(action, agent_pos), base

    def value(self, action: np.ndarray) -> float:
        """What the critics expect of an action on the last observation; nan before there was one."""
        return float("nan") if self._seen is None else self.agent.value(*self._seen, action)

    def flush(self) -> None:
        """Drop what the base had planned: somebody else has moved the arm meanwhile."""
        self.state = self.first_state


def trained_actor(base: Policy, agent: ResidualTD3, seed: int) -> ResidualRollout:
    """The policy as it is evaluated and deployed, for one episode; its dither is drawn from the episode's seed."""
    # The world draws from this seed alone, and a 0 behind it gives the same numbers: its noise must not be the dither.
    rng = np.random.default_rng([seed, 1])
    return ResidualRollout(base, agent, agent.settings.evaluation_noise, rng, deployed=True)

"""The joints between the rooms. Each Protocol has its conformance kit in `robo_reward.testing`.

The world is a `gymnasium.Env` with a Dict observation: `pixels` (view -> uint8 HWC, present when cameras are asked
for), `agent_pos` float32 (what the arm itself knows), `estimate` float32 (noisy object poses standing in for
perception), `environment_state` float32 (privileged, never a policy's input). Actions lie in [-1, 1];
`info["executed_action"]` is what was done, in the same units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from robo_reward.types import HopEstimate, HopQuery

Observation = Mapping[str, Any]


@runtime_checkable
class Policy(Protocol):
    """Acts on a batch of B observations; all memory is in the explicit state, so nothing leaks between episodes."""

    policy_id: str

    def initial_state(self, batch: int) -> Any:
        """State at the first step of B episodes; a list with one entry per episode."""

    def act(
        self, agent_pos_BP: Float32[np.ndarray, "B P"], estimate_BE: Float32[np.ndarray, "B E"], state: Any
    ) -> tuple[Float32[np.ndarray, "B A"], Any]:
        """Actions in [-1, 1] and the next state; never mutates the state it was given."""

    def phase(self, state: Any) -> Float32[np.ndarray, "B K"]:
        """What a learner on top must know of the state before acting, such as the step of a chunk; K may be 0."""


class Unanswered(ConnectionError):
    """A reward model elsewhere gave no answer: nothing is known of the question, and it may be asked again later."""


@runtime_checkable
class ProcessRewardModel(Protocol):
    """Answers hop queries. `model_id` names weights and settings: equal ids give equal answers."""

    model_id: str

    def hop(self, query: HopQuery) -> HopEstimate:
        """Relative progress of every pair of the query, in one batch. A model elsewhere may raise `Unanswered`."""


class QueryableWorld(Protocol):
    """What a collecting environment offers besides `gymnasium.Env`."""

    def render_views(self) -> dict[str, np.ndarray]:
        """The current frames of all cameras, view -> uint8 (H, W, 3), whether or not they are in the observation."""

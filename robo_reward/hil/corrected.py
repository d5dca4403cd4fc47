"""A policy in one episode, with somebody beside it who may take over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from robo_reward.hil.arbitration import Arbiter, Decision, HumanInput


class Policy(Protocol):
    """What acts, see `robo_reward.evaluation.rollout.Actor`; `flush` makes it drop what it had planned, and it may have
    `watch`, and `value` of an action in the last step."""

    base_id: str

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]: ...

    def flush(self) -> None: ...


class Operator(Protocol):
    """Who may take over."""

    def watch(self, info: Mapping[str, Any]) -> None:
        """Told what the environment says after its reset and after every step."""

    def read(self, agent_pos: np.ndarray, estimate: np.ndarray) -> HumanInput | None:
        """The newest input of the device."""


class CorrectedActor:
    """The actor of one episode under arbitration. The policy is asked at every step, also while the operator drives:
    its base's action there is what a learner needs. At the hand-back, and after a pause, it plans anew."""

    def __init__(self, act: Policy, operator: Operator, arbiter: Arbiter) -> None:
        self._act, self._operator, self._arbiter = act, operator, arbiter
        self.base_id = act.base_id
        self.decision: Decision | None = None
        """Of the last step."""

    def watch(self, info: Mapping[str, Any]) -> None:
        """Tells the policy and the operator what the environment says."""
        getattr(self._act, "watch", lambda info: None)(info)
        self._operator.watch(info)

    @property
    def human_action(self) -> np.ndarray | None:
        """What the operator asked for in the last step; None where it did not drive."""
        return None if self.decision is None else self.decision.human_action

    def value(self, action: np.ndarray) -> float | None:
        """What the policy's critics expect of an action in the last step; None where it has none."""
        ask = getattr(self._act, "value", None)
        return None if ask is None else float(ask(action))

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        human = self._operator.read(agent_pos, estimate)
        last = self._arbiter.source
        if last == "pause" or (last == "human" and not (human and human.held)):
            self._act.flush()
        action, base = self._act(agent_pos, estimate)
        self.decision = self._arbiter.decide(action, human)
        return self.decision.action, base

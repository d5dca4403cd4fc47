"""Who moves the arm at each step: the policy, a person, or nobody. One place decides, so that one writer sends.

A person drives only while the dead-man is held. Releasing it gives the arm back to the policy. An input that goes
stale, vanishes or is wrong while a person drives pauses instead: the person took over because the policy erred, so it
must not go on unasked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from robo_reward.safety.gate import check_action

Source = Literal["policy", "human", "pause"]


@dataclass(frozen=True)
class HumanInput:
    """The newest word of the operator's device."""

    action: Float32[np.ndarray, "A"]
    """In [-1, 1] action units."""
    held: bool
    """Whether the dead-man is pressed."""
    time_s: float
    """When it arrived, on the arbiter's clock [s]."""


@dataclass(frozen=True)
class Decision:
    """What to execute in this step, before the gate."""

    action: Float32[np.ndarray, "A"]
    source: Source
    human_action: Float32[np.ndarray, "A"] | None
    """What the operator asked for; None where the operator does not drive."""


class Arbiter:
    """One episode's arbitration.

    Hand-overs between policy and person are bumpless: over `blend_steps` steps the action goes in equal parts from the
    last one to the newcomer's, so the first differs from the last by a `blend_steps`-th of the way. A pause is at once.

    Arguments:
        size: of the action.
        stale_s: age [s] from which an operator's input counts as lost.
        blend_steps: steps of a hand-over; 1 for none.
        clock: monotonic seconds, the clock of `HumanInput.time_s`.
    """

    def __init__(
        self, size: int, *, stale_s: float = 0.2, blend_steps: int = 3, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size, self._stale_s, self._blend_steps, self._clock = size, stale_s, blend_steps, clock
        self.source: Source | None = None
        """Who acted in the last step; `pause` after one. None before the first."""
        self._last = self._from = np.zeros(size, np.float32)
        self._blended = blend_steps
        self._released = False
        self.paused = False
        """Set by `pause` or by an operator lost while driving; `resume` clears it."""

    def pause(self) -> None:
        """Hold still from the next step on."""
        self.paused = True

    def resume(self) -> None:
        """Let the policy go on, from rest; the dead-man must be released once before a person drives again."""
        if self.paused:
            self._hold()
        self.paused = self._released = False

    def decide(self, policy_action: Float32[np.ndarray, "A"], human: HumanInput | None) -> Decision:
        """This step's action and whose it is; to be called once a step.

        Args:
            policy_action: what the policy wants, in [-1, 1].
            human: the operator's newest input; None without an operator.

        Raises:
            ValueError: the policy's action has a wrong shape or is outside [-1, 1].
        """
        check_action(policy_action, self._size)
        holds = human is not None and human.held
        if human is None or (self._sound(human) and not human.held):
            self._released = True
        if self.source == "human" and (human is None or not self._sound(human)):
            self.paused = True
        if self.paused:
            return self._hold()
        if holds and self._released and human is not None and self._sound(human):
            asked = np.asarray(human.action, np.float32)
            return Decision(self._blend("human", asked), "human", asked)
        return Decision(self._blend("policy", np.asarray(policy_action, np.float32)), "policy", None)

    def _sound(self, human: HumanInput) -> bool:
        """Fresh, finite and within range. An input from the future is no fresher than a stale one."""
        try:
            check_action(human.action, self._size)
        except ValueError:
            return False
        return 0 <= self._clock() - human.time_s <= self._stale_s

    def _hold(self) -> Decision:
        self.source, self._released = "pause", False
        self._last = np.zeros(self._size, np.float32)
        return Decision(self._last, "pause", None)

    def _blend(self, source: Source, wanted: np.ndarray) -> np.ndarray:
        if self.source not in (None, source):
            self._from, self._blended = self._last, 0
        self.source = source
        if self._blended < self._blend_steps:
            self._blended += 1
        share = self._blended / self._blend_steps
        self._last = wanted if share == 1 else (self._from + share * (wanted - self._from)).astype(np.float32)
        return self._last

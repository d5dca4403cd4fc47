"""A simulated operator: watches an episode, takes over when it goes wrong, and gives the arm back.

It stands in for a person, so that every experiment with corrections can be repeated without one. What a person would
see on the cameras it is told: the simulator's progress and contact force. How it drives it sees as any policy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robo_reward.config import HilConfig
from robo_reward.hil.arbitration import HumanInput
from robo_reward.interfaces import Policy

ADVANCE = 0.01
"""Progress that counts as getting on."""


class SimulatedOperator:
    """The operator of one episode. It takes over a reaction time after it saw trouble, which is: no progress for
    `patience_s`, an episode older than `late_s`, a contact force above `force`, or `gated_steps` actions that the gate
    cut, one after the other. It gives back once the task has come on by `gain`.

    Arguments:
        settings: of the operator.
        expert: what it drives by.
        weak: what it drives by in the episodes in which its skill fails.
        rng: of this episode; decides attention, skill and noise.
        fps: steps a second.
        size: of the action.
        budget: steps that it may still drive.
    """

    def __init__(
        self,
        settings: HilConfig,
        expert: Policy,
        weak: Policy,
        rng: np.random.Generator,
        *,
        fps: int,
        size: int,
        budget: int,
    ) -> None:
        self._settings, self._rng, self._fps, self._size = settings, rng, fps, size
        self._budget = budget if rng.random() < settings.attention else 0
        self._hand = expert if rng.random() < settings.skill else weak
        self._step, self._best, self._advanced = -1, -np.inf, 0
        self._noticed: int | None = None
        self._cut = 0
        self._until: float | None = None
        self._state: Any = None

    @property
    def time_s(self) -> float:
        """Seconds of the episode so far: the clock of its inputs."""
        return self._step / self._fps

    def watch(self, info: Mapping[str, Any]) -> None:
        """Look at the world: what the environment says after its reset and after every step."""
        self._step += 1
        progress = float(info["progress_oracle"])
        if self._until is not None:
            if progress < self._until and self._budget > 0:
                return
            self._until, self._best, self._advanced = None, progress, self._step
        if progress > self._best + ADVANCE:
            self._best, self._advanced = progress, self._step
        self._cut = self._cut + 1 if info.get("gated") else 0
        if self._noticed is None and self._in_trouble(float(info.get("contact_force", 0.0))):
            self._noticed = self._step
        reaction = round(self._settings.reaction_s * self._fps)
        if self._noticed is not None and self._budget > 0 and self._step - self._noticed >= reaction:
            self._noticed, self._until = None, progress + self._settings.gain
            self._state = self._hand.initial_state(1)

    def read(self, agent_pos: np.ndarray, estimate: np.ndarray) -> HumanInput:
        """The operator's input at this observation; to be called once a step."""
        if self._until is None:
            return HumanInput(np.zeros(self._size, np.float32), False, self.time_s)
        self._budget -= 1
        action, self._state = self._hand.act(agent_pos[None], estimate[None], self._state)
        shaken = action[0] + self._settings.noise * self._rng.normal(size=action[0].shape)
        return HumanInput(np.clip(shaken, -1.0, 1.0).astype(np.float32), True, self.time_s)

    def _in_trouble(self, force: float) -> bool:
        s = self._settings
        stalled = (self._step - self._advanced) / self._fps >= s.patience_s
        cut = 0 < s.gated_steps <= self._cut
        return stalled or cut or self.time_s >= s.late_s or force >= s.force

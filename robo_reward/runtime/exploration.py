"""What is added to a policy's actions: noise correlated in time, and steps back from a contact that leads nowhere."""

from __future__ import annotations

from collections import deque

import numpy as np

from robo_reward.config import AgentConfig
from robo_reward.progress.segmentation import EventSignal

BACK_STEPS = (3, 6)
"""[steps] that a step back lasts, drawn from these, the last excluded."""
BACK_SPEED, BACK_ASIDE = 0.5, 0.25
"""Largest action of a step back against the way that led there, and standard deviation of what is added to it."""


class Exploration:
    """One episode's exploration.

    The noise is an Ornstein-Uhlenbeck process, so that it leans on something for a while instead of trembling on the
    spot. Where the wrench has told of contact for `agent.search_after` steps in a row, a step back begins with the
    chance `agent.search_chance`, at every such step: against the mean of the actions since the contact began, and a
    little aside, so that the policy arrives elsewhere when it goes on.

    Arguments: the settings; the noise's standard deviation in action units; the episode's own random numbers; the
    signal of contact, None for no search.
    """

    def __init__(
        self, settings: AgentConfig, noise: float, rng: np.random.Generator, contact: EventSignal | None = None
    ) -> None:
        self.settings, self.noise, self.rng, self.contact = settings, noise, rng, contact
        self.drift: np.ndarray | None = None
        self.pressed: deque[np.ndarray] = deque(maxlen=settings.search_after)
        self.back, self.left = np.zeros(0), 0

    def __call__(self, action_A: np.ndarray, agent_pos: np.ndarray) -> np.ndarray:
        """The action to execute for what the policy would do, within [-1, 1]."""
        if self.noise > 0:
            fresh = self.rng.normal(size=action_A.shape) * self.noise
            keep = self.settings.noise_correlation
            self.drift = fresh if self.drift is None else keep * self.drift + np.sqrt(1 - keep**2) * fresh
            action_A = np.clip(action_A + self.drift, -1.0, 1.0).astype(np.float32)
        if self.contact is not None:
            action_A = self._searching(action_A, agent_pos)
        return action_A

    def _searching(self, action_A: np.ndarray, agent_pos: np.ndarray) -> np.ndarray:
        s = self.settings
        if self.left == 0 and len(self.pressed) == s.search_after and self.rng.random() < s.search_chance:
            way = np.mean(self.pressed, axis=0)
            back = -BACK_SPEED * way / max(np.abs(way).max(), 1e-6) + self.rng.normal(size=way.shape) * BACK_ASIDE
            self.back, self.left = back, int(self.rng.integers(*BACK_STEPS))
            self.pressed.clear()
        if self.left > 0:
            self.left -= 1
            return np.clip(self.back, -1.0, 1.0).astype(np.float32)
        assert self.contact is not None
        if abs(agent_pos[self.contact.column]) < self.contact.threshold:
            self.pressed.clear()
        else:
            self.pressed.append(action_A)
        return action_A


def contact_signal(settings: AgentConfig, events: tuple[EventSignal, ...], env_id: str) -> EventSignal | None:
    """The task's signal of contact where `agent.search_chance` asks for one; ValueError when the task has none."""
    if settings.search_chance == 0:
        return None
    for event in events:
        if event.kind == "contact":
            return event
    raise ValueError(
        f"agent.search_chance={settings.search_chance} needs a signal of contact, and {env_id} has none: leave it at 0"
    )

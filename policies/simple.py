"""Bases to compare with: one that does nothing, and one that adds scripted search motions to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robo_reward.interfaces import Policy


class ZeroPolicy:
    """Always the action 0: a learner on top of it learns without a base."""

    policy_id = "zero"

    def __init__(self, action_size: int):
        self.action_size = action_size

    def initial_state(self, batch: int) -> list[None]:
        """Nothing to remember."""
        return [None] * batch

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[None]
    ) -> tuple[np.ndarray, list[None]]:
        """Zeros (B, A)."""
        return np.zeros((len(agent_pos_BP), self.action_size), np.float32), state

    def phase(self, state: list[None]) -> np.ndarray:
        """Nothing (B, 0)."""
        return np.zeros((len(state), 0), np.float32)


@dataclass(frozen=True)
class SearchState:
    """The base's own state, steps spent pressing, and the search's phase."""

    base: Any
    pressing: int = 0


class SearchingPolicy:
    """A base policy plus a blind spiral while it presses on something: what an engineer adds first to PegInsert.

    Contact is read from the wrench [N] in PegInsert's agent_pos; the spiral grows to about 6 mm and starts again.
    """

    def __init__(self, base: Policy, patience: int = 6):
        self.base, self.patience = base, patience
        self.policy_id = f"search-{base.policy_id}"

    def initial_state(self, batch: int) -> list[SearchState]:
        """One state per episode."""
        return [SearchState([state]) for state in self.base.initial_state(batch)]

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[SearchState]
    ) -> tuple[np.ndarray, list[SearchState]]:
        """The base's action; while pressing for longer than `patience` steps the sideways part is a spiral."""
        from robo_reward.policies.scripted import STEP, STIFFNESS, WRENCH

        actions, states = [], []
        for agent_pos, estimate, memory in zip(agent_pos_BP, estimate_BE, state, strict=True):
            action, base = self.base.act(agent_pos[None], estimate[None], memory.base)
            action, force = action[0].copy(), agent_pos[WRENCH][2]
            at_rim = force > 1.0 and abs(estimate[9]) < 0.006
            pressing = memory.pressing + 1 if at_rim else max(memory.pressing - 1, 0)
            if at_rim and pressing > self.patience:
                turn = (pressing - self.patience) % 80
                angle, radius = turn * 0.35, 0.001 + 0.005 * turn / 80
                # A spiral about where the base believes the hole to be.
                goal = radius * np.array([np.cos(angle), np.sin(angle)]) - estimate[7:9]
                action[:2] = np.clip(0.5 * goal / STEP, -0.35, 0.35)
                action[2] = -6.0 / STIFFNESS / STEP
            actions.append(action)
            states.append(SearchState(base, pressing))
        return np.stack(actions), states

    def phase(self, state: list[SearchState]) -> np.ndarray:
        """The base's own phase and for how long it has pressed, 1 for 80 steps (B, K+1)."""
        own = np.concatenate([self.base.phase(memory.base) for memory in state])
        pressing = np.array([[memory.pressing / 80] for memory in state], np.float32)
        return np.concatenate([own, pressing], axis=1)

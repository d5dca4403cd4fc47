"""Policies that predict chunks of actions: how chunks are executed, whatever predicted them.

Open loop, a chunk is used up before the next one is asked for. With temporal ensembling (ACT, arXiv 2304.13705) a chunk
is asked for at every step, and the actions that all chunks so far foresaw for this step are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Look:
    """What a policy may be given beside vectors: the cameras' frames, view -> uint8 (H, W, 3), and the instruction."""

    views: Mapping[str, np.ndarray]
    instruction: str


@dataclass(frozen=True)
class Seen:
    """One observation as a policy was given it."""

    agent_pos: np.ndarray
    estimate: np.ndarray
    look: Look | None


@dataclass(frozen=True)
class Memory:
    """One episode's explicit state."""

    plans: tuple[np.ndarray, ...] = ()
    """What chunks foresaw from the next step on, each (steps, A), the oldest first; one at most in open loop."""
    seen: tuple[Seen, ...] = ()
    """The newest observations before the next one, the oldest first."""
    look: Look | None = None
    """Of the next observation."""


Predict = Callable[[Sequence[tuple[Seen, ...]]], np.ndarray]
"""The newest observations of B episodes -> chunks (B, at least `chunk`, A)."""


class ChunkedPolicy:
    """Executes chunks; implements `robo_reward.interfaces.Policy`.

    Args:
        predict: asks the network or the server.
        policy_id: names what `predict` computes.
        chunk: actions executed of a chunk; with ensembling, all that are averaged over.
        action_size: of one action.
        observations: how many of the newest observations `predict` is given; an episode's first stands in for missing
            ones.
        ensemble: coefficient c of the weights exp(-c i) of the chunks, i = 0 the oldest; None executes open loop.
        scale: factors from the network's action units to [-1, 1], one a dimension; empty where they are the same.
        limit: largest action (after `scale`) that is clipped in silence; None clips any.
        views: cameras whose frames `predict` needs.
        looks: whether `predict` needs the `Look` at all.
    """

    def __init__(
        self,
        predict: Predict,
        policy_id: str,
        chunk: int,
        action_size: int,
        *,
        observations: int = 1,
        ensemble: float | None = None,
        scale: tuple[float, ...] = (),
        limit: float | None = None,
        views: tuple[str, ...] = (),
        looks: bool = False,
    ) -> None:
        if len(scale) not in (0, action_size):
            raise ValueError(f"base.action_scale has {len(scale)} factors: give one for each of {action_size} actions")
        self.policy_id = policy_id if ensemble is None else f"{policy_id}-ensemble{ensemble:g}"
        self.chunk, self.action_size, self.views = chunk, action_size, views
        self._predict, self._observations, self._ensemble = predict, observations, ensemble
        self._scale, self._limit, self._looks = np.asarray(scale or 1.0, np.float32), limit, looks or bool(views)

    def initial_state(self, batch: int) -> list[Memory]:
        """No plans: the first action of an episode always comes from a fresh chunk."""
        return [Memory()] * batch

    def look(self, state: list[Memory], info: Mapping[str, Any]) -> list[Memory]:
        """The state with what the coming step's `info` (of one episode) shows; the same state if that is not needed."""
        if not self._looks:
            return state
        shown = info.get("views", {})
        if missing := [view for view in self.views if view not in shown]:
            raise ValueError(
                f"the base policy looks through camera '{missing[0]}', which is not there: {sorted(shown)}"
            )
        look = Look({view: shown[view] for view in self.views}, str(info["instruction"]))
        return [replace(memory, look=look) for memory in state]

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[Memory]
    ) -> tuple[np.ndarray, list[Memory]]:
        """The next action of each episode, from fresh chunks where they are due."""
        seen = [
            (*memory.seen, Seen(agent_pos, estimate, memory.look))
            for agent_pos, estimate, memory in zip(agent_pos_BP, estimate_BE, state, strict=True)
        ]
        plans = [memory.plans for memory in state]
        due = [index for index, plan in enumerate(plans) if not plan or self._ensemble is not None]
        if due:
            chunks = self._checked(self._predict([self._newest(seen[index]) for index in due]), len(due))
            for index, chunk in zip(due, chunks, strict=True):
                plans[index] = (*plans[index], chunk)
        actions = np.stack([self._mean(plan) for plan in plans])
        rests = [tuple(chunk[1:] for chunk in plan if len(chunk) > 1) for plan in plans]
        keep = self._observations - 1
        return actions, [
            Memory(rest, seen_here[len(seen_here) - keep :] if keep else ())
            for rest, seen_here in zip(rests, seen, strict=True)
        ]

    def phase(self, state: list[Memory]) -> np.ndarray:
        """Which step of its chunk each episode is at, one-hot (B, chunk), 0 before a fresh one; ensembled (B, 0)."""
        if self._ensemble is not None:
            return np.zeros((len(state), 0), np.float32)
        left = [len(memory.plans[0]) if memory.plans else 0 for memory in state]
        return np.eye(self.chunk, dtype=np.float32)[[-steps % self.chunk for steps in left]]

    def _newest(self, seen: tuple[Seen, ...]) -> tuple[Seen, ...]:
        return (seen[0],) * (self._observations - len(seen)) + seen

    def _mean(self, plan: tuple[np.ndarray, ...]) -> np.ndarray:
        if len(plan) == 1:
            return plan[0][0]
        weights = np.exp(-(self._ensemble or 0.0) * np.arange(len(plan), dtype=np.float32))
        mean: np.ndarray = weights @ np.stack([chunk[0] for chunk in plan]) / weights.sum()
        return mean

    def _checked(self, chunks: np.ndarray, batch: int) -> np.ndarray:
        """The chunks in action units, (B, chunk, A); ValueError when they are not what the world takes."""
        wanted = (batch, self.chunk, self.action_size)
        shape = np.shape(chunks)
        if len(shape) != 3 or (shape[0], shape[2]) != (batch, self.action_size) or shape[1] < self.chunk:
            raise ValueError(
                f"base policy {self.policy_id} returned a chunk of shape {shape[1:]}, expected {wanted[1:]} "
                "(steps, actions) or more steps: set base.chunk to its length, or use a policy for this robot"
            )
        scaled = np.asarray(chunks[:, : self.chunk], np.float32) * self._scale
        if not np.isfinite(scaled).all():
            raise ValueError(
                f"base policy {self.policy_id} returned an action that is not finite: check what it was given"
            )
        if self._limit is not None and (largest := float(np.abs(scaled).max())) > self._limit:
            raise ValueError(
                f"base policy {self.policy_id} returned an action of {largest:.3g}, where [-1, 1] is the range: its "
                "actions have other units, set base.action_scale=[...] to the factors between them"
            )
        return np.clip(scaled, -1.0, 1.0)


def looked(policy: Any, state: Any, info: Mapping[str, Any]) -> Any:
    """`state` with what the coming step's `info` shows, for a policy that looks; any other policy's as it is."""
    look = getattr(policy, "look", None)
    return state if look is None else look(state, info)

"""What the page draws of one episode, a row an observation or a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.shaping import SCHEMES
from robo_reward.types import Progress

MARKS = {"policy": "p", "human": "h", "pause": "-"}
"""Who led to an observation, a letter a step."""
Term = Callable[[float, float, bool], float]
"""What shaping adds to the reward of a step: potential before it, after it, and whether it ended the task."""


def shaping_term(config: Config) -> Term | None:
    """The term of the run's shaping; None where the learner's potential is none that a live session knows."""
    if config.reward.kind not in ("compact", "oracle"):
        return None
    scheme, gamma, scale = SCHEMES[config.shaping.kind], config.agent.gamma, config.shaping.scale

    def term(before: float, after: float, ended: bool) -> float:
        phi, one = np.array([[before, after]]), np.array([1])
        return float(scheme(np.zeros(1), phi, one, np.array([ended]), gamma=gamma, scale=scale)[0])

    return term


@dataclass
class Curves:
    """The curves of the running episode."""

    term: Term | None = None
    sources: str = ""
    """A letter of `MARKS` a step."""
    oracle: list[float | None] = field(default_factory=list)
    """The world's own progress, one an observation; None where the world knows none."""
    model: list[list[float]] = field(default_factory=list)
    """The reward model's potential, its three perspectives and confidence, one row an observation."""
    rewards: list[list[float | None]] = field(default_factory=list)
    """One row a step: the task's reward, the shaping term, the critics' value of what was done; None where nobody
    knows it."""
    gated: str = ""
    """A letter a step: x where the gate cut the action."""

    def begin(self, oracle: float | None, seen: Progress | None) -> None:
        """Add the first observation."""
        self.oracle.append(_short(oracle))
        if seen is not None:
            values = (seen.phi, seen.incremental, seen.forward, seen.backward, seen.confidence)
            self.model.append([round(float(value), 4) for value in values])

    def add(
        self, source: str, oracle: float | None, seen: Progress | None,
        *, reward: float, ended: bool, gated: bool, value: float | None,
    ) -> None:  # fmt: skip
        """Add a step and the observation that it led to.

        Args:
            source: who acted, of `MARKS`.
            oracle: the world's own progress after it.
            seen: the reward model's.
            reward: the task's.
            ended: whether the step ended the task.
            gated: whether the gate cut the action.
            value: what the critics expect of it.
        """
        self.begin(oracle, seen)
        self.sources += MARKS[source]
        self.gated += "x" if gated else "."
        phi = [row[0] for row in self.model[-2:]] if self.model else self.oracle[-2:]
        before, after = phi if len(phi) == 2 else (None, None)
        known = self.term is not None and before is not None and after is not None
        term = self.term(before, after, ended) if known else None  # type: ignore[misc, arg-type]
        self.rewards.append([_short(reward), _short(term), _short(value)])

    def state(self) -> dict[str, Any]:
        """All of them as JSON values."""
        return {
            "sources": self.sources, "oracle": list(self.oracle), "model": list(self.model),
            "rewards": list(self.rewards), "gated": self.gated,
        }  # fmt: skip


def tail(state: Mapping[str, Any], known: int) -> dict[str, Any]:
    """The entries of `Curves.state` without what belongs to the first `known` observations."""
    steps = {name: state[name][max(known - 1, 0) :] for name in ("sources", "rewards", "gated")}
    return steps | {name: state[name][known:] for name in ("oracle", "model")}


def _short(value: float | None) -> float | None:
    """Rounded; None for what JSON has no number for."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4)

"""How well a simulation predicts reality: the same policies evaluated in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from robo_reward.evaluation.statistics import Interval, wilson_interval


@dataclass(frozen=True)
class Rate:
    """Successes of one policy in one condition."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.successes / self.episodes


Rates = Mapping[tuple[str, str], Rate]
"""(policy, condition) -> its successes."""


@dataclass(frozen=True)
class Gap:
    """Success in simulation minus in reality under one condition, all policies together."""

    condition: str
    policies: int
    difference: float
    interval: Interval


@dataclass(frozen=True)
class Agreement:
    """What the simulation says of reality."""

    pairs: list[tuple[str, str]]
    """(policy, condition) that both have, in the simulation's order."""
    pearson: float | None
    """Correlation of the success rates over `pairs`; None where one side has no spread."""
    mmrv: float
    """Mean maximum rank violation: 0 where the simulation ranks as reality does."""
    gaps: list[Gap]


def agreement(sim: Rates, real: Rates) -> Agreement:
    """Correlation, rank violation and the gap of each condition.

    Raises:
        ValueError: fewer than two policies and conditions in common.
    """
    pairs = [key for key in sim if key in real]
    if len(pairs) < 2:
        raise ValueError(f"simulation and reality share {len(pairs)} policies under the same condition; at least 2")
    a, b = [sim[key].rate for key in pairs], [real[key].rate for key in pairs]
    gaps = [_gap(condition, [key for key in pairs if key[1] == condition], sim, real)
            for condition in dict.fromkeys(condition for _, condition in pairs)]  # fmt: skip
    return Agreement(pairs, pearson(a, b), mean_maximum_rank_violation(a, b), gaps)


def pearson(sim: ArrayLike, real: ArrayLike) -> float | None:
    """Pearson's correlation of success rates in [0, 1], (N,); None where one side has no spread."""
    a, b = np.asarray(sim, float), np.asarray(real, float)
    return None if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def mean_maximum_rank_violation(sim: Sequence[float], real: Sequence[float]) -> float:
    """Mean over the policies of the largest real difference to another that the simulation ranks the wrong way.

    Args:
        sim: success rates in [0, 1], (N,).
        real: of the same policies, (N,).

    Returns:
        In [0, 1], lower is better. Source: Li et al. 2024 (SIMPLER), equation 1.
    """
    a, b = np.asarray(sim, float), np.asarray(real, float)
    wrong = (a[:, None] < a) != (b[:, None] < b)
    return float((np.abs(b[:, None] - b) * wrong).max(1).mean())


def _gap(condition: str, keys: Sequence[tuple[str, str]], sim: Rates, real: Rates) -> Gap:
    """Of rates pooled over the policies; Newcombe's interval of independent proportions (1998, method 10)."""
    ends = []
    for rates in (sim, real):
        successes, episodes = (sum(getattr(rates[key], name) for key in keys) for name in ("successes", "episodes"))
        ends.append((successes / episodes, *wilson_interval(successes, episodes)))
    (p1, low1, high1), (p2, low2, high2) = ends
    low = p1 - p2 - float(np.hypot(p1 - low1, high2 - p2))
    high = p1 - p2 + float(np.hypot(high1 - p1, p2 - low2))
    return Gap(condition, len(keys), p1 - p2, Interval(low, high))

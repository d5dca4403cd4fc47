"""Metrics of a reward model over episodes: plain functions of arrays; NaN means undefined, never silently 0.

A metric that concerns single episodes gives one number per episode, so that an interval can be drawn by resampling
episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Values = Sequence[Float[np.ndarray, "Q"]]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient with mean ranks for ties; NaN with fewer than 3 points or a constant side."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def value_order_correlation(values: Values, steps: Values) -> Float[np.ndarray, "E"]:
    """VOC of each episode: Spearman(value, time)."""
    return np.array([rank_correlation(v, s) for v, s in zip(values, steps, strict=True)])


def tie_rate(values: Values) -> float:
    """Share of neighbouring queries with equal values."""
    equal = np.concatenate([np.diff(v) == 0 for v in values]) if values else np.zeros(0)
    return float(equal.mean()) if len(equal) else float("nan")


def progress_error(values: Values, truth: Values) -> Float[np.ndarray, "E"]:
    """Mean |value - true progress| of each episode."""
    return np.array([np.abs(v - p).mean() for v, p in zip(values, truth, strict=True)])


def value_at(values: np.ndarray, steps: np.ndarray, step: int) -> float:
    """The value at environment step `step`, linear between queries.

    Not the held one: an episode's last observation is queried whatever its step, so holding would let a clock win.
    """
    return float(np.interp(step, steps, values))


def final_wins(success: Values, failure: Values) -> Float[np.ndarray, "S F"]:
    """1 where success s ends above failure f, 0.5 tied; the mean is the plain AUC, into which length leaks."""
    s, f = np.array([v[-1] for v in success])[:, None], np.array([v[-1] for v in failure])[None]
    return np.where(np.isclose(s, f, atol=1e-9), 0.5, (s > f).astype(float))


def length_matched_wins(
    success: Values, success_steps: Values, failure: Values, failure_steps: Values, before_end: int = 0
) -> tuple[Float[np.ndarray, "S F"], int]:
    """For success s and failure f: 1 if s, `before_end` steps before its end, is above f at the same step; 0.5 tied.

    NaN where the failure is not that long. Also the number of successes too short to have that step.
    """
    wins = np.full((len(success), len(failure)), np.nan)
    short = 0
    for i, (v, s) in enumerate(zip(success, success_steps, strict=True)):
        step = int(s[-1]) - before_end
        if step < 0:
            short += 1
            continue
        mine = value_at(v, s, step)
        for j, (w, q) in enumerate(zip(failure, failure_steps, strict=True)):
            if q[-1] >= step:
                other = value_at(w, q, step)
                wins[i, j] = 0.5 if abs(mine - other) < 1e-9 else float(mine > other)
    return wins, short


def pooled_rank_correlation(values: Values, truth: Values, inside: Sequence[np.ndarray]) -> float:
    """Spearman of value against true progress over all queries of all episodes where `inside` holds."""
    v, p = (np.concatenate([x[m] for x, m in zip(xs, inside, strict=True)]) for xs in (values, truth))
    return rank_correlation(v, p)


def stall_drift(values: Values) -> Float[np.ndarray, "E"]:
    """Mean |change| per 100 queries of clips in which nothing moves."""
    return np.array([abs(v[-1] - v[0]) / max(len(v) - 1, 1) * 100 for v in values])


def retrieval_accuracy(right: Values, wrong: Values) -> Float[np.ndarray, "E"]:
    """Per episode: 1 if its end scores higher under its own instruction than under another one, 0.5 when tied."""
    pairs = [(r[-1], w[-1]) for r, w in zip(right, wrong, strict=True)]
    return np.array([0.5 if r == w else float(r > w) for r, w in pairs])


def regression_recall(values: Values, truth: Values, drop: float = 0.05) -> float:
    """Share of the query intervals in which true progress fell by more than `drop` where the value fell too."""
    fell = np.concatenate([np.diff(p) < -drop for p in truth]) if truth else np.zeros(0, bool)
    said = np.concatenate([np.diff(v) < 0 for v in values]) if values else np.zeros(0, bool)
    return float(said[fell].mean()) if fell.any() else float("nan")


def bootstrap(
    statistic: Callable[[np.ndarray], float], count: int, draws: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high): 95 % percentile interval over resampled indices 0..count-1; NaN when undefined."""
    if count == 0:
        return (float("nan"),) * 3
    value = statistic(np.arange(count))
    if not np.isfinite(value):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(count, size=count)) for _ in range(draws)])
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (float("nan"), float("nan"))
    return float(value), float(low), float(high)


def mean_defined(values: np.ndarray) -> float:
    """Mean over the defined entries; NaN when there are none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[inverse]

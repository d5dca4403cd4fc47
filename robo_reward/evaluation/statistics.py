"""Intervals for success rates, paired differences and learning curves. numpy and the standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """Lower and upper limit; unpacks as `low, high`."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a success rate.

    Args:
        successes: number of successes, 0 <= successes <= n.
        n: number of episodes, >= 1.
        confidence: two-sided level in (0, 1).

    Returns:
        Limits within [0, 1]. Source: Wilson 1927; Brown, Cai and DasGupta 2001.

    Raises:
        ValueError: counts or level outside their ranges.
    """
    _check_counts(successes, n)
    z = _z(confidence)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At 0 and n successes the formula gives the bound itself up to rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95, side: str = "both") -> Interval:
    """Exact binomial interval: never covers less often than it says, so it is the one to state a bound with.

    Args:
        successes: number of successes, 0 <= successes <= n.
        n: number of trials, >= 1.
        confidence: level in (0, 1).
        side: "both", or "upper" / "lower" for a one-sided bound at the full level (0 errors in 59 trials bound the
            error rate by 5 % at 95 %).

    Returns:
        Limits within [0, 1]; the limit on the open side is 0 or 1. Source: Clopper and Pearson 1934.

    Raises:
        ValueError: counts, level or side outside their ranges.
    """
    _check_counts(successes, n)
    _z(confidence)
    if side not in ("both", "upper", "lower"):
        raise ValueError(f"side is {side!r}; allowed: both, upper, lower")
    tail = (1 - confidence) / (2 if side == "both" else 1)
    low, high = 0.0, 1.0
    if successes > 0 and side != "upper":  # P(X >= successes | low) = tail
        low = _bisect(lambda p: 1 - _binomial_cdf(successes - 1, n, p) < tail)
    if successes < n and side != "lower":  # P(X <= successes | high) = tail
        high = _bisect(lambda p: _binomial_cdf(successes, n, p) > tail)
    return Interval(low, high)


def paired_difference_interval(base: ArrayLike, other: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of success(other) - success(base), both run from the same N initial states.

    Args:
        base: success of one policy per initial state, (N,) of 0 or 1.
        other: success of the other policy from the same states, in the same order.
        confidence: two-sided level in (0, 1).

    Returns:
        Limits within [-1, 1]; above 0 means `other` is better. Pairing narrows the interval when both policies
        succeed and fail on the same states. Source: Newcombe 1998, Statistics in Medicine 17:2635, method 10 (Wilson
        limits joined by the corrected correlation).

    Raises:
        ValueError: arrays that are empty, of unequal length or not 0/1.
    """
    base_N, other_N = _outcomes("base", base), _outcomes("other", other)
    if len(base_N) != len(other_N):
        raise ValueError(f"base has {len(base_N)} outcomes and other {len(other_N)}; paired runs need equal numbers")
    n = len(base_N)
    both = int(np.sum(base_N & other_N))
    only_other, only_base = int(np.sum(other_N & ~base_N)), int(np.sum(base_N & ~other_N))
    neither = n - both - only_other - only_base
    p1, p2 = (both + only_other) / n, (both + only_base) / n
    (low1, high1), (low2, high2) = (wilson_interval(round(p * n), n, confidence) for p in (p1, p2))
    margins = (both + only_other) * (only_base + neither) * (both + only_base) * (only_other + neither)
    covariance = float(both * neither - only_other * only_base)
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)  # the correction belongs to method 10
    phi = covariance / math.sqrt(margins) if margins else 0.0
    difference = p1 - p2

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = difference - reach(p1 - low1, high2 - p2)
    high = difference + reach(high1 - p1, p2 - low2)
    return Interval(max(-1.0, low), min(1.0, high))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half: a quarter of the values (rounded down) is dropped at either end.

    Args:
        values: scores of any shape, flattened, at least one.

    Returns:
        The interquartile mean. Source: Agarwal et al. 2021 (rliable).

    Raises:
        ValueError: no values, or one that is not finite.
    """
    flat = np.sort(_finite("values", values).ravel())
    cut = len(flat) // 4
    return float(flat[cut : len(flat) - cut].mean())


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Share of runs that score above each threshold, with its percentile bootstrap band over seeds.

    Args:
        scores: (seeds,) or (seeds, tasks); the seeds of every task are resampled on their own.
        thresholds: (T,), increasing.
        confidence: two-sided level of the band at each threshold, in (0, 1).
        resamples: number of bootstrap samples, >= 1.
        seed: of the resampling.

    Returns:
        (T, 3) of share, low and high. Source: Agarwal et al. 2021 (rliable), run-score distribution.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    table = _finite("scores", scores)
    rows = []
    for threshold in _finite("thresholds", thresholds).ravel():
        above = (table > threshold).astype(float)
        rows.append((float(above.mean()), *bootstrap_interval(above, np.mean, confidence, resamples, seed)))
    return np.array(rows)


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Callable[[np.ndarray], float] = interquartile_mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over seeds, stratified by task.

    Args:
        scores: (seeds,) or (seeds, tasks); the seeds of every task are resampled on their own.
        statistic: function of an array of that shape.
        confidence: two-sided level in (0, 1).
        resamples: number of bootstrap samples, >= 1.
        seed: of the resampling, so that a table can be made again.

    Returns:
        Percentile limits. With fewer than about five seeds they are too narrow. Source: rliable's stratified bootstrap.

    Raises:
        ValueError: no scores, more than two axes, or a score that is not finite.
    """
    table = _finite("scores", scores)
    if table.ndim > 2:
        raise ValueError(f"scores has shape {table.shape}; allowed: (seeds,) or (seeds, tasks)")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: at least 1")
    _z(confidence)
    rng = np.random.default_rng(seed)
    draws = [
        statistic(np.take_along_axis(table, rng.integers(len(table), size=table.shape), axis=0))
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: between 0 and 1, for example 0.95")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _check_counts(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}; allowed: n >= 1 and 0 <= successes <= n")


def _outcomes(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or len(array) == 0 or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} has shape {array.shape}; allowed: a non-empty row of 0 and 1, one per initial state")
    return array.astype(bool)


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold at least one number and only finite ones; it has shape {array.shape}")
    return array


def _binomial_cdf(k: int, n: int, p: float) -> float:
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 else float(k >= n)
    terms = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return math.fsum(math.exp(term) for term in terms)


def _bisect(below: Callable[[float], bool]) -> float:
    """The p in [0, 1] at which `below` turns from true to false."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2

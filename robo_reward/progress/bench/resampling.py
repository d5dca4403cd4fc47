"""Bootstrap over episodes, all draws at once: how often each episode was drawn, and statistics of those counts.

Row 0 of the counts is the sample itself, so a statistic's first value is the plain one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

Counts = Float[np.ndarray, "D E"]


def draw_counts(episodes: int, draws: int, seed: int) -> Counts:
    """How often each of E episodes is in each of D = draws + 1 samples; the first holds every episode once."""
    counts = np.ones((draws + 1, episodes))
    if episodes:
        drawn = np.random.default_rng(seed).integers(episodes, size=(draws, episodes))
        flat = drawn + episodes * np.arange(draws)[:, None]
        counts[1:] = np.bincount(flat.ravel(), minlength=draws * episodes).reshape(draws, episodes)
    return counts


def interval(values_D: Float[np.ndarray, "D"]) -> tuple[float, float, float]:
    """(value, low, high): the sample's own statistic and the 95 % percentile interval of defined draws; else NaN."""
    nan = float("nan")
    if not np.isfinite(values_D[0]):
        return nan, nan, nan
    drawn = values_D[1:][np.isfinite(values_D[1:])]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (nan, nan)
    return float(values_D[0]), float(low), float(high)


def mean(counts: Counts, values_E: Float[np.ndarray, "E"]) -> Float[np.ndarray, "D"]:
    """Mean over the episodes whose value is defined."""
    defined = np.isfinite(values_E)
    return ratio(counts, np.where(defined, values_E, 0.0), defined)


def ratio(counts: Counts, above_E: np.ndarray, below_E: np.ndarray) -> Float[np.ndarray, "D"]:
    """Sum of `above` over sum of `below`; NaN where the latter is 0."""
    return divide(counts @ np.asarray(above_E, float), counts @ np.asarray(below_E, float))


def win_rate(success: Counts, failure: Counts, wins_SF: Float[np.ndarray, "S F"]) -> Float[np.ndarray, "D"]:
    """Mean over the defined pairs of a success and a failure, each drawn as often as its counts say."""
    defined = np.isfinite(wins_SF)
    pairs = [((success @ table) * failure).sum(1) for table in (np.where(defined, wins_SF, 0.0), defined.astype(float))]
    return divide(pairs[0], pairs[1])


def rank_correlation(
    counts: Counts, episode_N: Int64[np.ndarray, "N"], a_N: np.ndarray, b_N: np.ndarray
) -> Float[np.ndarray, "D"]:
    """Spearman over the N points of all drawn episodes, mean ranks for ties; NaN under 3 points or for a constant."""
    if not len(a_N):
        return np.full(len(counts), np.nan)
    weight_DN = counts[:, episode_N]
    total = weight_DN.sum(1)
    left, right = (_centred_ranks(weight_DN, x) for x in (a_N, b_N))
    variance = (weight_DN * left**2).sum(1) * (weight_DN * right**2).sum(1)
    usable = (total >= 3) & (variance > 1e-9)  # ranks are halves of integers: less than that is rounding
    return divide((weight_DN * left * right).sum(1), np.sqrt(np.where(usable, variance, 0.0)))


def pearson_distance(
    counts: Counts, episode_N: Int64[np.ndarray, "N"], x_N: np.ndarray, y_N: np.ndarray
) -> Float[np.ndarray, "D"]:
    """sqrt((1 - rho) / 2) over the points of all drawn episodes, as `distances.pearson_distance` for each draw."""
    x, y = x_N - x_N.mean(), y_N - y_N.mean()
    products = (np.ones_like(x), x, y, x * x, y * y, x * y)
    sums = [counts @ np.bincount(episode_N, p, minlength=counts.shape[1]) for p in products]
    n, sx, sy, sxx, syy, sxy = sums
    n = np.maximum(n, 1)
    vx, vy = np.maximum(sxx - sx**2 / n, 0), np.maximum(syy - sy**2 / n, 0)
    flat_x, flat_y = (v < 1e-12 * n for v in (vx, vy))
    rho = divide(sxy - sx * sy / n, np.sqrt(np.where(flat_x | flat_y, 0.0, vx * vy)))
    return np.where(flat_x & flat_y, 0.0, np.sqrt(np.clip((1 - rho) / 2, 0, 1)))


def _centred_ranks(weight_DN: np.ndarray, values_N: np.ndarray) -> Float[np.ndarray, "D N"]:
    """Each draw's ranks of the values minus their mean, equal values sharing their mean rank."""
    _, group_N, first = np.unique(values_N, return_inverse=True, return_counts=True)
    order = np.argsort(group_N, kind="stable")
    size_DG = np.add.reduceat(weight_DN[:, order], np.cumsum(first) - first, axis=1)
    rank_DG = np.cumsum(size_DG, axis=1) - (size_DG + 1) / 2
    centre = divide((size_DG * rank_DG).sum(1), size_DG.sum(1))
    return (rank_DG - centre[:, None])[:, group_N]


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, NaN where `below` is not above 0."""
    below = np.broadcast_to(below, above.shape)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

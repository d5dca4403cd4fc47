"""How well episode scores tell outcomes apart: each statistic over all draws of episodes at once.

counts: `resampling.draw_counts`; a score is an episode's last value. NaN where a statistic is undefined.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64

from robo_reward.progress.bench.resampling import Counts, divide, ratio

Draws = Float[np.ndarray, "D"]


def kendall_tau_b(counts: Counts, score_E: Float[np.ndarray, "E"], outcome_E: Int64[np.ndarray, "E"]) -> Draws:
    """Kendall's tau-b (ties taken out on either side) between scores and outcomes failure < partial < success."""
    s, y = (np.sign(np.subtract.outer(x, x)) for x in (score_E, outcome_E))
    both, only_s, only_y = (_pairs(counts, table) for table in (s * y, np.abs(s), np.abs(y)))
    return divide(both, np.sqrt(only_s * only_y))


def pair_accuracy(counts: Counts, score_E: Float[np.ndarray, "E"], outcome_E: Int64[np.ndarray, "E"]) -> Draws:
    """Share of the pairs of unequal outcomes in which the better one scores higher; ties count 0.5."""
    better = np.subtract.outer(outcome_E, outcome_E) > 0
    gap = np.subtract.outer(score_E, score_E)
    right = np.where(np.isclose(gap, 0, atol=1e-9), 0.5, gap > 0)
    return divide(_pairs(counts, better * right), _pairs(counts, better.astype(float)))


def d_prime(counts: Counts, score_E: Float[np.ndarray, "E"], success_E: Bool[np.ndarray, "E"]) -> Draws:
    """Distance of the outcomes' mean scores in units of their pooled standard deviation."""
    moments = []
    for side in (success_E, ~success_E):
        mean = ratio(counts, score_E * side, side)
        square = ratio(counts, (score_E - score_E[side].mean()) ** 2 * side, side)
        moments.append((mean, square - (mean - score_E[side].mean()) ** 2))
    (high, spread_high), (low, spread_low) = moments
    pooled = np.sqrt(np.maximum(spread_high + spread_low, 0) / 2)
    return divide(high - low, np.where(pooled > 1e-9, pooled, 0.0))


def false_positives_at(
    counts: Counts, score_E: Float[np.ndarray, "E"], success_E: Bool[np.ndarray, "E"], recall: float = 0.95
) -> Draws:
    """Share of failures at or above the highest threshold that keeps at least `recall` of the successes."""
    order = np.argsort(-score_E, kind="stable")
    score, success = score_E[order], success_E[order]
    weight = counts[:, order]
    last = np.append(score[1:] != score[:-1], True)  # equal scores pass a threshold together
    passed = [np.cumsum(weight * side, axis=1)[:, last] for side in (success, ~success)]
    kept, let_in = (divide(p, p[:, -1:]) for p in passed)
    first = np.argmax(kept >= recall - 1e-9, axis=1)
    return np.asarray(np.where(np.isnan(kept[:, 0]), np.nan, let_in[np.arange(len(counts)), first]))


def platt(score_E: Float[np.ndarray, "E"], success_E: Bool[np.ndarray, "E"]) -> tuple[float, float]:
    """Slope and offset of the logistic that makes scores success probabilities, fitted by Newton's method.

    Targets are pulled in as Platt (1999) does, so that outcomes which the scores separate perfectly have a finite fit.
    """
    n = np.array([(~success_E).sum(), success_E.sum()])
    target = np.where(success_E, (n[1] + 1) / (n[1] + 2), 1 / (n[0] + 2))
    x = np.stack([score_E, np.ones(len(score_E))], axis=1)
    fit = np.array([0.0, np.log((n[1] + 1) / (n[0] + 1))])
    for _ in range(50):
        p = _logistic(x @ fit)
        bend = x.T @ (x * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)  # scores that are all equal have no slope
        step = np.linalg.solve(bend, x.T @ (target - p))
        fit = fit + step / max(1.0, np.abs(step).max() / 5)
        if np.abs(step).max() < 1e-9:
            break
    return float(fit[0]), float(fit[1])


def probability(score_E: Float[np.ndarray, "E"], fit: tuple[float, float]) -> Float[np.ndarray, "E"]:
    """Success probabilities of scores under `platt`'s fit."""
    return _logistic(fit[0] * score_E + fit[1])


def brier(probability_E: Float[np.ndarray, "E"], success_E: Bool[np.ndarray, "E"]) -> Float[np.ndarray, "E"]:
    """Each episode's squared distance of the probability to the outcome."""
    return np.asarray((probability_E - success_E) ** 2)


def calibration_error(
    counts: Counts, probability_E: Float[np.ndarray, "E"], success_E: Bool[np.ndarray, "E"], bins: int = 10
) -> Draws:
    """Expected calibration error: |mean probability - share of successes| in bins of equal width, by their episodes."""
    place = np.minimum((probability_E * bins).astype(int), bins - 1)
    gap_EB = (probability_E - success_E)[:, None] * (place[:, None] == np.arange(bins))
    return divide(np.abs(counts @ gap_EB).sum(1), counts.sum(1))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _pairs(counts: Counts, table_EE: np.ndarray) -> Draws:
    """Sum over pairs of drawn episodes."""
    return np.asarray(((counts @ table_EE) * counts).sum(1))

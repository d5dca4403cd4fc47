"""Metrics of a reward model over episodes: plain functions of arrays; NaN means undefined, never silently 0.

A metric that concerns single episodes gives one number per episode, so that an interval can be drawn by resampling
episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

Values = Sequence[Float[np.ndarray, "Q"]]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient with mean ranks for ties; NaN with fewer than 3 points or a constant side."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def value_order_correlation(values: Values, steps: Values) -> Float[np.ndarray, "E"]:
    """VOC of each episode: Spearman(value, time)."""
    return np.array([rank_correlation(v, s) for v, s in zip(values, steps, strict=True)])


def ties(values: Values) -> Float[np.ndarray, "E 2"]:
    """Of each episode: neighbouring queries with equal values, and all neighbouring queries."""
    return np.array([[(np.diff(v) == 0).sum(), max(len(v) - 1, 0)] for v in values])


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


def pooled(
    values: Values, truth: Values, inside: Sequence[np.ndarray]
) -> tuple[Int64[np.ndarray, "N"], Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Episode number, value and true progress of all queries of all episodes where `inside` holds."""
    v, p = (np.concatenate([x[m] for x, m in zip(xs, inside, strict=True)]) for xs in (values, truth))
    return np.repeat(np.arange(len(inside)), [int(m.sum()) for m in inside]), v, p


def stall_drift(values: Values) -> Float[np.ndarray, "E"]:
    """Mean |change| per 100 queries of clips in which nothing moves."""
    return np.array([abs(v[-1] - v[0]) / max(len(v) - 1, 1) * 100 for v in values])


def drift_per_100_frames(values: Values, steps: Values) -> Float[np.ndarray, "E"]:
    """`stall_drift` by the camera's clock: |change| per 100 environment steps, however often the model was asked."""
    return np.array([abs(v[-1] - v[0]) / max(s[-1] - s[0], 1) * 100 for v, s in zip(values, steps, strict=True)])


def regressions_noticed(values: Values, truth: Values, drop: float = 0.05) -> Float[np.ndarray, "E 2"]:
    """Of each episode: query intervals in which value and true progress fell, and in which the latter did.

    True progress fell when it lost more than `drop`; the value when it lost anything.
    """
    found = []
    for v, p in zip(values, truth, strict=True):
        fell = np.diff(p) < -drop
        found.append([(fell & (np.diff(v) < 0)).sum(), fell.sum()])
    return np.array(found)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[inverse]

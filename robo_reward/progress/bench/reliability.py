"""Does the model know when it is wrong: its confidence against its error, over the queries of all episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from robo_reward.progress.bench import resampling
from robo_reward.progress.bench.metrics import Values


def reliability_table(
    confidence: Values, error: Values, counts: Float[np.ndarray, "D E"], bins: int = 5
) -> list[dict[str, Any]]:
    """Queries in `bins` groups of equal size by confidence, lowest first: mean confidence, mean |error| and interval.

    confidence: [0, 1], one array of Q queries an episode; error: |value - true progress| of the same queries.
    counts: draws of episodes (`resampling.draw_counts`). Fewer rows when many queries share one confidence.
    """
    episode, c, e = _pooled(confidence, error)
    if not len(c):
        return []
    edges = np.unique(np.quantile(c, np.linspace(0, 1, bins + 1)[1:-1]))
    group = np.searchsorted(edges, c, side="right")
    rows = []
    for g in np.unique(group):
        inside = group == g
        sums, sizes = (
            np.bincount(episode[inside], weights, minlength=counts.shape[1]) for weights in (e[inside], None)
        )
        found = resampling.interval(resampling.ratio(counts, sums, sizes))
        value, low, high = (round(x, 4) if np.isfinite(x) else None for x in found)
        rows.append({
            "confidence": round(float(c[inside].mean()), 4), "error": value, "error_low": low, "error_high": high,
            "queries": int(inside.sum()),
        })  # fmt: skip
    return rows


def confidence_error_correlation(
    confidence: Values, error: Values, counts: Float[np.ndarray, "D E"]
) -> Float[np.ndarray, "D"]:
    """Spearman between confidence and |error| over all queries, in each draw: -1 when it always knows."""
    return resampling.rank_correlation(counts, *_pooled(confidence, error))


def _pooled(confidence: Values, error: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Episode number, confidence and error of every query."""
    lengths: Sequence[int] = [len(c) for c in confidence]
    episode = np.repeat(np.arange(len(lengths)), lengths)
    return episode, *(np.concatenate([np.zeros(0), *x]) for x in (confidence, error))

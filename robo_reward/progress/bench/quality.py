"""What a value curve says of the rollout itself, and 1-5 scores as other projects give them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from robo_reward.progress.bench.metrics import Values

STILL = 0.01
"""Change of the value between two queries under which the rollout stalls."""
SCORE_EDGES = (0.125, 0.375, 0.625, 0.875)
"""Progress at which a rollout's score goes from 1 to 2, and so on to 5 (RoboReward, fixed here and never fitted)."""


def outcome_quality(values: Values) -> dict[str, Float[np.ndarray, "E"]]:
    """Of each rollout, as PRM-as-a-Judge has them: NaN where nothing ever changed or there is a single query.

    max_progress: the highest value. path_efficiency: v_T^2 / sum |dv|, 1 for a straight way from 0 to 1. regret: mean
    distance under the highest value so far. stall_share: share of query intervals that change the value by less than
    `STILL`. negative_share: share of query intervals in which it falls.
    """
    steps = [np.diff(v) for v in values]
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = [
            v[-1] ** 2 / np.abs(d).sum() if np.abs(d).sum() > 0 else np.nan for v, d in zip(values, steps, strict=True)
        ]
    return {
        "max_progress": np.array([v.max() for v in values]),
        "path_efficiency": np.array(efficiency),
        "regret": np.array([(np.maximum.accumulate(v) - v).mean() for v in values]),
        "stall_share": np.array([(np.abs(d) < STILL).mean() if len(d) else np.nan for d in steps]),
        "negative_share": np.array([(d < 0).mean() if len(d) else np.nan for d in steps]),
    }


def scores(values: Values) -> Int64[np.ndarray, "E"]:
    """A score from 1 to 5 for each rollout, by its last value."""
    return np.digitize([v[-1] for v in values], SCORE_EDGES) + 1


def score_error(values: Values, truth: Values) -> Float[np.ndarray, "E"]:
    """|score - score of the true progress| of each rollout."""
    return np.abs(scores(values) - scores(truth)).astype(float)


def trivial_score_errors(truth: Values) -> dict[str, float]:
    """Mean error of always saying 3, and of saying 1 to 5 at random: what a score has to beat."""
    right = scores(truth)
    guesses = np.arange(1, 6)
    return {
        "score_mae_always_3": float(np.abs(right - 3).mean()),
        "score_mae_at_random": float(np.abs(right[:, None] - guesses).mean()),
    }

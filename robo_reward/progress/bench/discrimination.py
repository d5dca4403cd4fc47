"""Which metrics tell a reward model from what knows nothing of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

MARGIN = 0.2
"""A metric discriminates when the model beats the best control by more than this."""

HIGHER_IS_BETTER = {
    "voc": True,
    "vroc": True,
    "progress_error": False,
    "progress_error_failure": False,
    "success_auc": True,
    "success_auc_8_before_end": True,
    "success_auc_plain": True,
    "alignment_rank_correlation": True,
    "alignment_rank_correlation_per_episode": True,
    "wrong_instruction_accuracy": True,
    "stall_drift": False,
    "stall_drift_per_100_frames": False,
    "regression_recall": True,
    "three_way_accuracy": True,
    "completion_f1": True,
    "kendall_tau_b": True,
    "pair_accuracy": True,
    "d_prime": True,
    "false_positives_at_95_recall": False,
    "brier": False,
    "calibration_error": False,
    "score_mae": False,
    "video_retrieval": True,
    "epic_naive": False,
    "epic_progress": False,
}
"""Metrics with a better side. `tie_rate` has none, `epic_shaped` is 0 whatever the potential."""


def best_control(metric: str, rows: Sequence[Row]) -> float | None:
    """The best value that a control has on this metric; None when no control has one."""
    values = [row[metric] for row in rows if row["control"] and row.get(metric) is not None]
    return (max if HIGHER_IS_BETTER[metric] else min)(values) if values else None


def discriminates(metric: str, value: float | None, control: float | None) -> bool | None:
    """Whether `value` beats the best control by more than `MARGIN`; None when either is missing.

    Scores are compared as they are; errors, which have no common scale, as shares of the control's.
    """
    if value is None or control is None:
        return None
    if HIGHER_IS_BETTER[metric]:
        return value - control > MARGIN
    return control - value > MARGIN * control


def marks(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """`<metric>_best_control` and `<metric>_discriminates` of one row; a control's own marks are None."""
    found: dict[str, Any] = {}
    for metric in HIGHER_IS_BETTER:
        control = best_control(metric, rows)
        found[f"{metric}_best_control"] = control
        found[f"{metric}_discriminates"] = None if row["control"] else discriminates(metric, row.get(metric), control)
    return found


def better_on(one: Row, other: Row) -> list[str]:
    """Metrics on which `one` is better than `other` with intervals that do not overlap."""
    found = []
    for metric, higher in HIGHER_IS_BETTER.items():
        good, bad = (one, other) if higher else (other, one)
        low, high = good.get(f"{metric}_low"), bad.get(f"{metric}_high")
        if low is not None and high is not None and low > high:
            found.append(metric)
    return found

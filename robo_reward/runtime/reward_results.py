"""What is shown of a reward model: its tables on the terminal and its sections of report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_reward.evaluation import plots, report
from robo_reward.progress.bench.discrimination import better_on
from robo_reward.progress.completion import VERDICTS
from robo_reward.runtime.stages import StageResult
from robo_reward.terminal import say

SHOWN = {
    "progress_error": "error, successes",
    "progress_error_failure": "error, failures",
    "success_auc_8_before_end": "AUC 8 steps before the end",
    "success_auc": "AUC, length-matched",
    "alignment_rank_correlation": "rank correlation, alignment",
    "three_way_accuracy": "success, partial or failure",
    "wrong_instruction_accuracy": "wrong instruction recognised",
    "regression_recall": "regressions noticed",
    "stall_drift_per_100_frames": "drift per 100 still frames",
    "epic_progress": "EPIC of progress as reward",
    "voc": "VOC",
    "vroc": "VROC",
}
"""Columns of the reward table: what discriminates first, what a clock can win last."""

OUTCOMES = {
    "three_way_accuracy": "three outcomes",
    "completion_f1": "F1 of success",
    "false_success_rate": "false successes",
    "completion_delay_frames": "delay [frames]",
    "completion_early_rate": "too early",
    "completion_lead_frames": "by [frames]",
    "kendall_tau_b": "Kendall's tau-b",
    "pair_accuracy": "pairs in order",
    "d_prime": "d\u2032",
    "false_positives_at_95_recall": "false positives at 95% recall",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "score_mae": "error of 1-5 scores",
}
"""Columns of the second table: how episodes are judged as wholes."""

ANSWERS = {
    "video_retrieval": "own video recognised",
    "round_trip_error": "there and back",
    "transitivity_residual": "by way of a third frame",
    "stride_spread": "spread over strides",
    "max_progress": "highest value",
    "path_efficiency": "path efficiency",
    "regret": "regret",
    "stall_share": "stalls",
    "negative_share": "falls",
    "tie_rate": "ties",
}
"""Columns of the third: whether answers agree with each other, and what rollouts look like through them."""


def print_reward_table(bench: StageResult, quiet: bool) -> None:
    """The reward table on the terminal, without intervals."""
    names = list(SHOWN)
    say(f"{'method':<32}" + "".join(f"{name[:17]:>19}" for name in names), quiet)
    for row in _table(bench):
        cells = (f"{row[name]:19.3f}" if row.get(name) is not None else f"{'-':>19}" for name in names)
        say(f"{row['method']:<32}" + "".join(cells), quiet)


def reward_rows(bench: StageResult, shown: Mapping[str, str] = SHOWN) -> list[list[object]]:
    """One row a method: its name and each shown metric with its 95 % interval; last, which metrics discriminate."""
    rows, measured = [], _table(bench)
    for row in measured:
        cells = []
        for key in shown:
            value, low, high = (row.get(f"{key}{suffix}") for suffix in ("", "_low", "_high"))
            interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
            cells.append(None if value is None else f"{value:.3f}{interval}")
        rows.append([row["method"], *cells])
    marks = [measured[0].get(f"{key}_discriminates") for key in shown]
    rows.append(["discriminates", *marks])
    return rows


def reward_sections(bench: StageResult) -> list[report.Section]:
    """The tables with their controls, what beats the model on what, what is taken for what, confidence and error."""
    rows = _table(bench)
    table = report.table(
        "Reward model on held-out episodes", ["method", *SHOWN.values()], reward_rows(bench), emphasis=0,
        note="95% intervals over episodes. A metric discriminates when the model beats the best control by more than "
        "0.2 (an error: by a fifth of the control's); one that does not carries no claim. Dash: nothing to compare.",
    )  # fmt: skip
    outcomes = report.table(
        "Whole episodes", ["method", *OUTCOMES.values()], reward_rows(bench, OUTCOMES), emphasis=0,
        note="False successes, delay and earliness are the calibrated completion rule's. Probabilities of success "
        f"(Brier, calibration) were fitted on the validation episodes. {_trivial(bench)}",
    )  # fmt: skip
    answers = report.table(
        "Answers and rollouts", ["method", *ANSWERS.values()], reward_rows(bench, ANSWERS), emphasis=0,
        note="From the highest value on, the columns describe the rollouts as a method sees them: compare with the "
        "oracle's row.",
    )  # fmt: skip
    against = report.table(
        "The reward model against each method", ["method", "the model is better on", "it is better on"],
        [[row["method"], _words(better_on(rows[0], row)), _words(better_on(row, rows[0]))] for row in rows[1:]],
        note="Metrics whose 95% intervals do not overlap; on the others no difference is shown.",
    )  # fmt: skip
    return [table, *_reads(rows), outcomes, answers, against, *_confusions(bench), *_reliability(bench)]


def clips_section(clips: StageResult, folder: Path) -> report.Section:
    """The best and worst test episodes of each outcome; `folder` is the report's."""
    items = [
        report.VideoItem(clips.path / c["film"], c["caption"], c["success"], clips.path / c["page"])
        for c in clips.summary["clips"]
    ]
    note = "By the error of progress on the test split. The dashed curve is the simulator's own progress."
    return report.videos("Best and worst episodes", items, folder, note)


def _table(bench: StageResult) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((bench.path / "bench.json").read_text())
    return found


def _trivial(bench: StageResult) -> str:
    three, chance = (bench.summary.get(f"reward_score_mae_{name}") for name in ("always_3", "at_random"))
    return "" if three is None else f"Always saying 3 errs by {three:.2f}, 1 to 5 at random by {chance:.2f}."


def _confusions(bench: StageResult) -> list[report.Section]:
    """What the model takes the test episodes for, and its last values under each instruction."""
    model = json.loads((bench.path / "outcomes.json").read_text())[0]
    found = [
        report.figure(
            "What episodes are taken for",
            plots.confusion(model["confusion"], VERDICTS, rows="in truth", columns="verdict", counts=True),
            "number of test episodes by true outcome and by the model's verdict",
            "Test episodes. Partial: a failure that ended with half of the task done or more.",
        )
    ]
    if "instructions" in model:
        told = model["instructions"]
        found.append(
            report.figure(
                "Tasks and instructions",
                plots.confusion(told["values"], told["instructions"], rows="task of the video", columns="instruction"),
                "mean last value of successes of each task under each instruction",
                "Mean last value of the test split's successes, as it is.",
            )
        )
    return found


def _reads(rows: Sequence[Mapping[str, Any]]) -> list[report.Section]:
    """What each trained model looks at, when there are several."""
    trained = [[row["method"], row["reads"]] for row in rows if row.get("reads")]
    if len(trained) < 2:
        return []
    note = "Demonstrations are of the training episodes, never the clip's own. All are causal: no later frame is read."
    return [report.table("What each reward model reads", ["method", "reads"], trained, note=note)]


def onpolicy_words(summary: Mapping[str, Any]) -> str:
    """What the completion rule did on the learner's own rollouts, in a line."""
    failures, successes = summary["completion_onpolicy_failures"], summary["completion_onpolicy_successes"]
    found = []
    if failures:
        low, high = (summary[f"completion_onpolicy_false_success_rate_{side}"] for side in ("low", "high"))
        rate = summary["completion_onpolicy_false_success_rate"]
        found.append(f"{rate:.1%} of {failures} failures called done (95% interval {low:.1%} to {high:.1%})")
    if successes:
        found.append(f"{summary['completion_onpolicy_recall']:.1%} of {successes} successes called done")
    return "; ".join(found) or "no rollouts in the store"


def onpolicy_section(summary: Mapping[str, Any]) -> report.Section:
    """The completion rule on the learner's own rollouts."""
    return report.table(
        "Completion on the learner's own rollouts", ["", "rollouts", "called done", "95% interval"],
        [["failures", summary["completion_onpolicy_failures"], summary["completion_onpolicy_false_success_rate"],
          _interval(summary, "completion_onpolicy_false_success_rate")],
         ["successes", summary["completion_onpolicy_successes"], summary["completion_onpolicy_recall"], None]],
        note="The threshold's bound holds for failures like those it was chosen on; here it is checked on failures of "
        "the policy in training.",
    )  # fmt: skip


def preference_words(summary: Mapping[str, Any]) -> str:
    """How often the model agrees with a person's clicks, in one line."""
    oracle = summary["preference_oracle_agreement"]
    return (
        f"agrees with {summary['preference_agreement']:.0%} of {summary['preference_pairs']} preferences "
        f"({_interval(summary, 'preference_agreement')})"
        + ("" if oracle is None else f"; the simulator's own progress with {oracle:.0%}")
    )


def _interval(row: Mapping[str, Any], key: str) -> str | None:
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return None if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _words(metrics: list[str]) -> str | None:
    names = SHOWN | OUTCOMES | ANSWERS
    return "; ".join(names.get(metric, metric.replace("_", " ")) for metric in metrics) or None


def _reliability(bench: StageResult) -> list[report.Section]:
    bins = json.loads((bench.path / "reliability.json").read_text())
    if not bins:
        return []
    bounds = [(row["error_low"], row["error_high"]) for row in bins]
    figure = report.figure(
        "Confidence against error",
        plots.reliability([row["confidence"] for row in bins], [row["error"] for row in bins], bounds),
        "the reward model's mean error against its confidence",
        f"{sum(row['queries'] for row in bins)} queries in groups of equal size by confidence. Where the line does not "
        "fall, the confidence says nothing about the error.",
    )
    return [figure]

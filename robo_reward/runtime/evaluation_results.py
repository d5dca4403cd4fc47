"""What a report and the terminal show of an evaluation: outcomes, cycle times, the sequential test's verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_reward.evaluation import report
from robo_reward.evaluation.taxonomy import counted
from robo_reward.runtime.evaluating import EPISODES
from robo_reward.runtime.stages import StageResult


def outcome_section(episodes: Mapping[str, Sequence[Mapping[str, Any]]], fps: float) -> report.Section:
    """Policies as rows, what became of their episodes as columns.

    Args:
        episodes: policy -> rows of `evaluating.told`.
        fps: actions a second.
    """
    classes = list(counted(row["outcome"] for rows in episodes.values() for row in rows))
    table = []
    for name, rows in episodes.items():
        counts = counted(row["outcome"] for row in rows)
        steps = [row["steps"] for row in rows if row["success"]]
        cycle = sum(steps) / len(steps) / fps if steps else None
        each = sum(row["steps"] for row in rows) / fps / len(steps) if steps else None
        table.append([name, *(counts.get(outcome, 0) for outcome in classes), cycle, each])
    return report.table(
        "What became of the episodes", ["policy", *classes, "cycle time [s]", "time per success [s]"], table,
        note="Failures by the shape of the progress curve. Cycle time: mean duration of a success; time per success: "
        "all time spent, failures too.",
    )  # fmt: skip


def evaluation_sections(evaluation: StageResult, folder: Path, fps: float) -> list[report.Section]:
    """Of the evaluation stage; `folder` is the report's."""
    sections = [outcome_section(json.loads((evaluation.path / EPISODES).read_text(encoding="utf-8")), fps)]
    if evaluation.summary["videos"]:
        items = [
            report.VideoItem(evaluation.path / video["file"], f"{video['policy']}, seed {video['seed']}"
                             + (f": {video['outcome']}" if not video["success"] else ""), video["success"])
            for video in evaluation.summary["videos"]
        ]  # fmt: skip
        sections.append(report.videos("Episodes", items, folder, "The curve is the potential that shaped the reward."))
    return sections


def decision_words(summary: Mapping[str, Any], name: str = "trained") -> str:
    """One line on the sequential test; empty where there was none."""
    if "decision" not in summary:
        return ""
    verdict = {"better": f"{name} is better", "worse": f"{name} is worse"}.get(summary["decision"], "undecided")
    low, high = summary["decision_difference_low"], summary["decision_difference_high"]
    return (
        f"sequential test: {verdict} after {summary['decision_pairs']} pairs (error {summary['decision_error']:.0%} a "
        f"side), difference {low:+.0%} to {high:+.0%}"
    )

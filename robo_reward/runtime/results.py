"""What a training run shows: the flat summary, the plots and report.html."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robo_reward.config import Config
from robo_reward.evaluation import plots, report
from robo_reward.progress.bench.discrimination import better_on
from robo_reward.runtime.run_folder import RunFolder, command_line
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.terminal import say


@dataclass(frozen=True)
class Line:
    """The finished stages of one training run."""

    data: StageResult
    reward: StageResult | None
    bench: StageResult | None
    base: StageResult
    trained: StageResult
    recheck: StageResult | None
    evaluation: StageResult
    perturbed: StageResult | None = None

    @property
    def stages(self) -> list[StageResult]:
        """Those that were run or reused, in order."""
        found = [self.data, self.reward, self.bench, self.base, self.trained, self.recheck, self.evaluation,
                 self.perturbed]  # fmt: skip
        return [stage for stage in found if stage is not None]


def training_summary(config: Config, line: Line) -> dict[str, Any]:
    """The headline numbers of `train`, flat."""
    collected, trained = line.data.summary, line.trained.summary
    curve = trained["curve"]
    reached = [rollouts for rollouts, _, wins, episodes in curve if wins / episodes >= 0.8]
    kinds = ("weak_episodes", "validation_episodes", "validation_redrawn")
    reward_rollouts = sum(int(collected.get(kind, 0)) for kind in kinds)
    summary = {
        **{key: value for key, value in line.evaluation.summary.items() if key != "videos"},
        "rollouts": trained["rollouts"],
        "env_steps": trained["env_steps"],
        "rollouts_to_0_8_success": reached[0] if reached else None,
        "last_three_evaluations_low": min(wins / episodes for _, _, wins, episodes in curve[-3:]),
        "demonstrations": int(collected.get("demos_episodes", 0)),
        "reward_model_rollouts": reward_rollouts if line.reward else 0,
        "updates": trained["updates"],
        "updates_per_s": round(trained["updates_per_s"], 1),
    }
    if line.bench:
        summary |= {key: value for key, value in line.bench.summary.items() if key.startswith("reward_")}
    for stage in line.stages:
        summary[f"{stage.name.replace('-', '_')}_wall_s"] = stage.wall_s
    return summary


def print_table(summary: dict[str, Any], quiet: bool) -> None:
    """The table that a terminal shows at the end."""
    rows = [("policy", "success", "95% interval")]
    for name, label in (("base", "base, frozen"), ("final", "trained")):
        low, high = summary[f"{name}_success_low"], summary[f"{name}_success_high"]
        rows.append((label, f"{summary[f'{name}_success']:.0%}", f"{low:.0%} to {high:.0%}"))
    rows.append(("difference, paired", "", f"{summary['difference_low']:+.0%} to {summary['difference_high']:+.0%}"))
    for row in rows:
        say(f"{row[0]:<20}{row[1]:>8}  {row[2]}", quiet)
    reached = summary["rollouts_to_0_8_success"]
    first = f"80% success first seen after {reached}" if reached else "80% success not reached"
    say(f"{summary['rollouts']} online rollouts; {first}", quiet)


def print_reward_table(bench: StageResult, quiet: bool) -> None:
    """The reward table on the terminal, without intervals."""
    names = list(SHOWN)
    say(f"{'method':<32}" + "".join(f"{name[:17]:>19}" for name in names), quiet)
    for row in json.loads((bench.path / "bench.json").read_text()):
        cells = (f"{row[name]:19.3f}" if row.get(name) is not None else f"{'-':>19}" for name in names)
        say(f"{row['method']:<32}" + "".join(cells), quiet)


def write_training_report(config: Config, run: RunFolder, line: Line, summary: dict[str, Any]) -> Path:
    """report.html in the run folder, with links into the stages' folders for the videos."""
    curve = line.trained.summary["curve"]
    rollouts, wins, totals = [row[0] for row in curve], [row[2] for row in curve], [row[3] for row in curve]
    outcomes = json.loads((line.evaluation.path / "episodes.json").read_text())
    sections = [
        report.summary_headline(summary),
        report.figure(
            "Learning curve",
            plots.learning_curve(rollouts, wins, totals, base=summary["base_success"], target=0.95),
            "success of the trained policy against online rollouts",
            f"{totals[0]} episodes per point, their initial states never used in training.",
        ),
        report.success_table(
            "Success",
            [
                report.SuccessRow("base policy, frozen", *_wins(outcomes["base"])),
                report.SuccessRow("trained policy", *_wins(outcomes["trained"]), emphasis=True),
            ],
            difference=(summary["final_success"] - summary["base_success"], summary["difference_low"],
                        summary["difference_high"]),
        ),
    ]  # fmt: skip
    if line.bench:
        sections += [_progress_section(line.bench, task_of(config.env).fps), *reward_sections(line.bench)]
    if line.recheck:
        sections.append(onpolicy_section(line.recheck.summary))
    if line.perturbed:
        sections.append(_perturbations(line.perturbed))
    if line.evaluation.summary["videos"]:
        sections.append(_videos(line.evaluation, run.path))
    sections.append(
        report.settings("Settings", command_line(), {"seed": config.seed, "stages": len(line.stages)},
                        yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False))
    )  # fmt: skip
    return report.write_report(run.path / "report.html", sections, title=f"{config.name}", subtitle="robo-reward train")


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


def reward_rows(bench: StageResult) -> list[list[object]]:
    """One row a method: its name and each shown metric with its 95 % interval; last, which metrics discriminate."""
    rows, measured = [], json.loads((bench.path / "bench.json").read_text())
    for row in measured:
        cells = []
        for key in SHOWN:
            value, low, high = (row.get(f"{key}{suffix}") for suffix in ("", "_low", "_high"))
            interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
            cells.append(None if value is None else f"{value:.3f}{interval}")
        rows.append([row["method"], *cells])
    marks = [measured[0].get(f"{key}_discriminates") for key in SHOWN]
    rows.append(["discriminates", *marks])
    return rows


def reward_sections(bench: StageResult) -> list[report.Section]:
    """The reward table with its controls, what beats the model on what, and confidence against error."""
    rows = json.loads((bench.path / "bench.json").read_text())
    table = report.table(
        "Reward model on held-out episodes", ["method", *SHOWN.values()], reward_rows(bench), emphasis=0,
        note="95% intervals over episodes. A metric discriminates when the model beats the best control by more than "
        "0.2 (an error: by a fifth of the control's); one that does not carries no claim. Dash: nothing to compare.",
    )  # fmt: skip
    against = report.table(
        "The reward model against each method", ["method", "the model is better on", "it is better on"],
        [[row["method"], _words(better_on(rows[0], row)), _words(better_on(row, rows[0]))] for row in rows[1:]],
        note="Metrics whose 95% intervals do not overlap; on the others no difference is shown.",
    )  # fmt: skip
    return [table, *_reads(rows), against, *_reliability(bench)]


def _reads(rows: Sequence[Mapping[str, Any]]) -> list[report.Section]:
    """What each trained model looks at, when there are several."""
    trained = [[row["method"], row["reads"]] for row in rows if row.get("reads")]
    note = "Demonstrations are of the training episodes, never the clip's own. All are causal: no later frame is read."
    return (
        [report.table("What each reward model reads", ["method", "reads"], trained, note=note)] if trained[1:] else []
    )


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


def _interval(row: Mapping[str, Any], key: str) -> str | None:
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return None if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _words(metrics: list[str]) -> str | None:
    return "; ".join(SHOWN.get(metric, metric.replace("_", " ")) for metric in metrics) or None


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


def _progress_section(bench: StageResult, fps: int) -> report.Section:
    with np.load(bench.path / "tracks.npz", allow_pickle=False) as file:
        tracks = {name: file[name] for name in file.files}
    successes, failures = ([t for n, t in tracks.items() if n.endswith(k)] for k in ("success", "failure"))
    return report.figure(
        "Progress on held-out episodes",
        plots.progress_curves(successes, failures, seconds_per_step=1 / fps),
        "potential over time for successes and failures",
        "The reward model's potential, online and causal, on episodes it was not trained on.",
    )


def _perturbations(perturbed: StageResult) -> report.Section:
    with (perturbed.path / "perturbations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def cell(row: dict[str, str], name: str, form: str) -> str | None:
        if not row[name]:
            return None
        value, low, high = (format(float(row[f"{name}{suffix}"]), form) for suffix in ("", "_low", "_high"))
        return f"{value} ({low} to {high})"

    return report.table(
        "In perturbed worlds", ["axis", "severity", "base", "trained", "error of the reward model"],
        [[r["axis"].replace("_", " "), r["severity"], cell(r, "base_success", ".0%"), cell(r, "final_success", ".0%"),
          cell(r, "reward_error", ".3f")] for r in rows],
        note="Success from the same initial states as above, or, where only cameras notice, the reward model's error "
        "on the trained policy's episodes; 95% intervals.",
    )  # fmt: skip


def _videos(evaluation: StageResult, folder: Path) -> report.Section:
    items = [
        report.VideoItem(evaluation.path / video["file"], f"{video['policy']}, seed {video['seed']}", video["success"])
        for video in evaluation.summary["videos"]
    ]
    return report.videos("Episodes", items, folder, "The curve is the potential that shaped the reward.")


def _wins(episodes: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(episode["success"] for episode in episodes), len(episodes)

"""What a training run shows: the flat summary, the plots and report.html."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from robo_reward.config import Config
from robo_reward.data.arrays import read_arrays
from robo_reward.evaluation import plots, report
from robo_reward.runtime.evaluation_results import decision_words, evaluation_sections
from robo_reward.runtime.reward_results import clips_section, onpolicy_section, reward_sections
from robo_reward.runtime.robot_results import action_names, robot_sections, robot_summary
from robo_reward.runtime.run_folder import RunFolder, command_line
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.runtime.worlds import robot_of
from robo_reward.terminal import say


@dataclass(frozen=True)
class Line:
    """The finished stages of one training run."""

    data: StageResult
    reward: StageResult | None
    base: StageResult
    trained: StageResult
    evaluation: StageResult
    bench: StageResult | None = None
    recheck: StageResult | None = None
    perturbed: StageResult | None = None
    clips: StageResult | None = None

    @property
    def stages(self) -> list[StageResult]:
        """Those that were run or reused, in order."""
        found = [self.data, self.reward, self.bench, self.clips, self.base, self.trained, self.recheck,
                 self.evaluation, self.perturbed]  # fmt: skip
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
        "last_three_evaluations_low": min((wins / episodes for _, _, wins, episodes in curve[-3:]), default=None),
        "demonstrations": int(collected.get("demos_episodes", 0)),
        "reward_model_rollouts": reward_rollouts if line.reward else 0,
        "updates": trained["updates"],
        "updates_per_s": round(trained["updates_per_s"], 1),
    }
    if line.reward:
        summary["reward_model"] = str(line.reward.path)
    if line.bench:
        summary |= {key: value for key, value in line.bench.summary.items() if key.startswith("reward_")}
    summary |= robot_summary(line.stages)
    for stage in line.stages:
        summary[f"{stage.name.replace('-', '_')}_wall_s"] = stage.wall_s
    for kept in (line.trained, line.recheck):
        if kept:  # whose curve and rows a study reads
            summary[f"{kept.name}_folder"] = str(kept.path)
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
    if words := decision_words(summary):
        say(words, quiet)
    reached = summary["rollouts_to_0_8_success"]
    first = f"80% success first seen after {reached}" if reached else "80% success not reached"
    seen = f"; {first}" if summary["last_three_evaluations_low"] is not None else ""
    say(f"{summary['rollouts']} online rollouts{seen}", quiet)


def write_training_report(config: Config, run: RunFolder, line: Line, summary: dict[str, Any]) -> Path:
    """report.html in the run folder, with links into the stages' folders for the videos."""
    curve = line.trained.summary["curve"]
    rollouts, wins, totals = [row[0] for row in curve], [row[2] for row in curve], [row[3] for row in curve]
    outcomes = json.loads((line.evaluation.path / "episodes.json").read_text())
    sections = [report.summary_headline(summary)]
    if curve:  # an actor's robot plays rollouts, and no evaluations beside them
        sections.append(report.figure(
            "Learning curve",
            plots.learning_curve(rollouts, wins, totals, base=summary["base_success"], target=0.95),
            "success of the trained policy against online rollouts",
            f"{totals[0]} episodes per point, their initial states never used in training.",
        ))  # fmt: skip
    sections += [
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
    if line.clips:
        sections.append(clips_section(line.clips, run.path))
    if line.recheck:
        sections.append(onpolicy_section(line.recheck.summary))
    if line.perturbed:
        sections.append(_perturbations(line.perturbed, summary))
    if config.robot:
        sections += robot_sections(line.stages, action_names(robot_of(config)[0]), task_of(config.env).fps)
    sections += evaluation_sections(line.evaluation, run.path, task_of(config.env).fps)
    sections.append(
        report.settings("Settings", command_line(), {"seed": config.seed, "stages": len(line.stages)},
                        yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False))
    )  # fmt: skip
    return report.write_report(run.path / "report.html", sections, title=f"{config.name}", subtitle="robo-reward train")


def _progress_section(bench: StageResult, fps: int) -> report.Section:
    tracks = read_arrays(bench.path / "tracks.npz")
    successes, failures = ([t for n, t in tracks.items() if n.endswith(k)] for k in ("success", "failure"))
    return report.figure(
        "Progress on held-out episodes",
        plots.progress_curves(successes, failures, seconds_per_step=1 / fps),
        "potential over time for successes and failures",
        "The reward model's potential, online and causal, on episodes it was not trained on.",
    )


def _perturbations(perturbed: StageResult, summary: dict[str, Any]) -> report.Section:
    with (perturbed.path / "perturbations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def cell(row: dict[str, str], name: str, form: str) -> str | None:
        if not row[name]:
            return None
        value, low, high = (format(float(row[f"{name}{suffix}"]), form) for suffix in ("", "_low", "_high"))
        return f"{value} ({low} to {high})"

    def drop(row: dict[str, str], name: str) -> str | None:
        return f"{summary[name] - float(row[name]):+.0%}" if row[name] else None

    return report.table(
        "In perturbed worlds",
        ["axis", "severity", "base", "its drop", "trained", "its drop", "error of the reward model", "unperturbed"],
        [[r["axis"].replace("_", " "), r["severity"], cell(r, "base_success", ".0%"), drop(r, "base_success"),
          cell(r, "final_success", ".0%"), drop(r, "final_success"), cell(r, "reward_error", ".3f"),
          r["reward_error_unperturbed"][:5] or None] for r in rows],
        note="Success from the same initial states as above and how much it fell, or, where only cameras notice, the "
        "reward model's error on the trained policy's episodes; 95% intervals.",
    )  # fmt: skip


def _wins(episodes: list[dict[str, Any]]) -> tuple[int, int]:
    return sum(episode["success"] for episode in episodes), len(episodes)

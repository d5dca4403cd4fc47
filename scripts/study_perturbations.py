"""Success of base and trained policy in perturbed worlds, axis by axis, into docs/results/perturbations.csv.

    python scripts/study_perturbations.py --run runs/train-peg_insert-s0-... [setting=value ...]

The run is a finished one of `robo-reward train`. A cell, an axis at a severity, is 100 episodes of either policy from
the same initial states; it is written when it is there, and cells that are there already are passed over, so the script
can be interrupted. `none` is the world as it was in training. Severity 2 of every axis comes first, then 1 and 3.
Axes that only cameras and the reward model notice are measured on the reward model: its error, and no success.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from robo_reward.config import load_config
from robo_reward.envs.perturbation import PHYSICAL, VISUAL
from robo_reward.evaluation.statistics import wilson_interval
from robo_reward.runtime.pipeline import evaluate
from robo_reward.runtime.run_folder import CONFIG

TABLE = Path(__file__).parents[1] / "docs" / "results" / "perturbations.csv"
DEFAULT = "peg_insert"
"""The experiment that a command has where it names none."""
COLUMNS = (
    "task", "axis", "severity", "policy", "episodes", "success", "success_low", "success_high", "drop", "reward_error",
    "reward_error_low", "reward_error_high", "reward_error_unperturbed", "command",
)  # fmt: skip


def cells(visual: bool) -> list[tuple[str, int]]:
    """(axis, severity), the first of no axis."""
    axes = (*PHYSICAL, *(VISUAL if visual else ()))
    return [("none", 0), *((axis, severity) for severity in (2, 1, 3) for axis in axes)]


def command_of(task: str, run: Path, axis: str, severity: int, words: Sequence[str]) -> str:
    """What gives a cell of a run of this experiment, the run by its name; where it is written is left out."""
    words = [word for word in words if not word.startswith("run.")]
    experiment = [f"experiment={task}"] if task != DEFAULT else []
    perturb = [f"perturb={axis}:{severity}"] if severity else []
    return " ".join(["robo-reward evaluate", *experiment, f"evaluate.policies=[runs/{run.name}]", *perturb, *words])


def rows_of(task: str, axis: str, severity: int, summary: dict[str, Any], command: str) -> list[dict[str, Any]]:
    """The cell's rows, from the summary of `evaluate`."""
    stem = f"perturb_{axis}_{severity}_" if severity else ""
    cell = {"task": task, "axis": axis, "severity": severity, "command": command}
    if (error := summary.get(f"{stem}reward_error")) is not None and severity:
        others = ("low", "high", "unperturbed")
        bounds = {f"reward_error_{other}": round(summary[f"{stem}reward_error_{other}"], 4) for other in others}
        return [{**cell, "policy": "reward model", "reward_error": round(error, 4), **bounds}]
    rows = []
    for policy, word in (("base", "base"), ("trained", "final")):
        success, count = summary[f"{stem}{word}_success"], summary["evaluation_episodes"]
        low, high = wilson_interval(round(success * count), count)
        rows.append({**cell, "policy": policy, "episodes": count, "success": success, "success_low": round(low, 4),
                     "success_high": round(high, 4),
                     "drop": round(summary[f"{word}_success"] - success, 4)})  # fmt: skip
    return rows


def write_summary(table: Path) -> None:
    """The same as `perturbations.json`, a row a cell, for the tables of the docs."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells: dict[str, dict[str, Any]] = {}
    for row in rows:
        axis = row["axis"].replace("_", " ")
        name = f"{axis}, severity {row['severity']}" if row["severity"] != "0" else "as in training"
        cell = cells.setdefault(name if row["task"] == DEFAULT else f"{row['task']}: {name}", {})
        if row["success"]:
            cell[row["policy"]] = [float(row[key]) for key in ("success", "success_low", "success_high")]
            cell[f"{row['policy']}, drop"] = float(row["drop"])
        else:
            cell["reward error"] = [float(row[f"reward_error{end}"]) for end in ("", "_low", "_high")]
            cell["unperturbed"] = float(row["reward_error_unperturbed"])
    result = {"table": cells, "command": "python scripts/study_perturbations.py --visual --run RUN"}
    table.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run of train")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--visual", action="store_true", help="the reward model's axes too; the run has to have one")
    arguments, words = parser.parse_known_args()
    own = yaml.safe_load((arguments.run / CONFIG).read_text(encoding="utf-8"))
    for axis, severity in cells(arguments.visual):
        known = []
        if arguments.table.exists():
            with arguments.table.open(newline="", encoding="utf-8") as file:
                known = list(csv.DictReader(file))
        command = command_of(own["name"], arguments.run, axis, severity, words)
        if any(row["command"] == command for row in known):
            continue
        print(command, flush=True)
        extra = [f"experiment={own['name']}", f"evaluate.policies=[{arguments.run}]", "evaluate.videos=0", "quiet=true"]
        perturb = [f"perturb={axis}:{severity}"] if severity else []
        summary = evaluate(load_config([*extra, *perturb, *words], "evaluate"))
        with arguments.table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if not known:
                writer.writeheader()
            writer.writerows(rows_of(own["name"], axis, severity, summary, command))
        write_summary(arguments.table)


if __name__ == "__main__":
    main()

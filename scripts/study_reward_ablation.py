"""The ablation of the reward model: the default, and one thing changed at a time, on three seeds and the same data.

    python scripts/study_reward_ablation.py [--jobs 2] [run.root=FOLDER] [more Hydra overrides]

Writes docs/results/reward_ablation.csv (a line for each row and seed, with 95 % intervals over episodes) and
reward_ablation.json (each row's mean over the seeds), both anew after every line. What is finished is kept with the
stages, so the command goes on where it was stopped. About two minutes of one core for each training; rows that only
change the fusion use the default's weights, with the completion threshold calibrated anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from robo_reward.config import Config, load_config
from robo_reward.progress.bench.method import model_method
from robo_reward.progress.bench.suite import BenchSettings, bench
from robo_reward.progress.calibration import calibrate_completion
from robo_reward.progress.reward_model import load_reward
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.run_folder import git_revision
from robo_reward.runtime.stages import StageResult, run_stage
from robo_reward.runtime.tasks import task_of

SEEDS = (0, 1, 2)
ROWS = {
    "default": [],
    "target: absolute progress": ["reward.target=absolute"],
    "target: plain difference": ["reward.target=difference"],
    "labels: linear in time": ["reward.labels=frames"],
    "references: never swapped": ["reward.swap_references=0"],
    "no failures in training": ["reward.failures=false"],
    "two views": ["reward.views=[front,wrist]"],
    "one view": ["reward.views=[front]"],
    "fusion: average": ["reward.fusion=average"],
    "fusion: consistency": ["reward.fusion=consistency"],
    "fusion: incremental alone": ["reward.fusion=incremental"],
    "fusion: forward alone": ["reward.fusion=forward"],
    "fusion: backward alone": ["reward.fusion=backward"],
}
METRICS = (
    "progress_error", "progress_error_failure", "voc", "vroc", "success_auc_8_before_end", "alignment_rank_correlation",
    "wrong_instruction_accuracy", "stall_drift_per_100_frames", "regression_recall", "three_way_accuracy",
)  # fmt: skip
RESULTS = Path(__file__).parents[1] / "docs" / "results"
Line = dict[str, Any]


def measure(row: str, seed: int, overrides: list[str]) -> Line:
    """Train, or take what is trained, and measure: one line of the table."""
    change = ROWS[row]
    trained_by = [word for word in change if not word.startswith("reward.fusion=")]
    config = load_config([*overrides, *trained_by, f"reward.seed={seed}"])
    fusion = load_config([*overrides, *change]).reward.fusion
    data = collecting.collect_stage(config)
    reward = steps.reward_stage(config, data)
    key = {"fusion": fusion, "every": config.collect.query_every}
    stage = run_stage(config.run.stages, "ablation", key, [data, reward],
                      lambda folder: score(config, data, reward, fusion), quiet=config.quiet)  # fmt: skip
    return {"row": row, "seed": seed, **stage.summary}


def score(config: Config, data: StageResult, reward: StageResult, fusion: str) -> Line:
    """The metrics of the trained model under a fusion rule, on the test episodes."""
    every, views = config.collect.query_every, config.reward.views
    trained = load_reward(reward.path)
    if fusion != trained.tracker.fusion:
        validation = collecting.read_split(data.path, "validation", every, views)
        tracker = replace(trained.tracker, fusion=fusion)
        target = steps.completion_target(config)
        tracker, _ = calibrate_completion(trained.model, trained.references, tracker, validation, target)
        trained = replace(trained, tracker=tracker)
    episodes = collecting.read_split(data.path, "test", every, views)
    settings = BenchSettings(config.env.horizon, len(task_of(config.env).stages))
    [found] = bench([model_method(trained)], episodes, settings)
    names = [f"{metric}{suffix}" for metric in METRICS for suffix in ("", "_low", "_high") if metric in found]
    return {"model_id": trained.model.model_id, **{name: found[name] for name in names}}


def write_results(lines: list[Line], words: list[str]) -> None:
    """Both files from the lines that are finished; words: the overrides that were typed."""
    order = list(ROWS)
    lines = sorted(lines, key=lambda line: (order.index(line["row"]), line["seed"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "reward_ablation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    table = {}
    for row in order:
        mine = [line for line in lines if line["row"] == row]
        if mine:
            table[row] = {
                metric: over_seeds([line[metric] for line in mine]) for metric in METRICS if metric in mine[0]
            }
    result = {
        "table": table,
        "lines_missing": len(ROWS) * len(SEEDS) - len(lines),
        "seeds": len({line["seed"] for line in lines}),
        "command": " ".join(["python scripts/study_reward_ablation.py", *words]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git_revision": git_revision(),
    }
    (RESULTS / "reward_ablation.json").write_text(json.dumps(result, indent=1) + "\n")


def over_seeds(values: list[float | None]) -> list[float] | None:
    """Mean, least and largest; None where a seed has no value."""
    known = [value for value in values if value is not None]
    return [sum(known) / len(known), min(known), max(known)] if len(known) == len(values) else None


def measured_apart(row: str, seed: int, overrides: list[str]) -> Line:
    """`measure` in a process of its own, on one core: the same sums on every machine."""
    command = [sys.executable, __file__, "--line", row, str(seed), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout))


def main() -> None:
    if sys.argv[1:2] == ["--line"]:
        row, seed, *overrides = sys.argv[2:]
        print(json.dumps(measure(row, int(seed), overrides)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time, each on one core")
    arguments, words = parser.parse_known_args()
    overrides = ["quiet=true", *words]
    # Seed by seed, so that an unfinished table is level; in each, first the weights that the fusion rows share.
    tasks = sorted(
        ((row, seed) for row in ROWS for seed in SEEDS), key=lambda task: (task[1], task[0].startswith("fusion"))
    )
    collecting.collect_stage(load_config(overrides))
    lines: list[Line] = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done in as_completed([pool.submit(measured_apart, row, seed, overrides) for row, seed in tasks]):
            lines.append(done.result())
            write_results(lines, [word for word in words if not word.startswith("run.")])
            print(f"{len(lines)} of {len(tasks)}: {lines[-1]['row']}, seed {lines[-1]['seed']}", flush=True)


if __name__ == "__main__":
    main()

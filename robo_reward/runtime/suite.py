"""`bench-reward suite=sim`: the reward model on several tasks, in one table.

Tasks with the same cameras share one reward model, trained on all their demonstrations and weak rollouts: so "wrong
instruction" means another task's. The completion threshold is set for each task on its own validation episodes, because
its bound holds for exchangeable episodes only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from robo_reward.config import Config, EnvConfig
from robo_reward.evaluation.statistics import clopper_pearson
from robo_reward.runtime import steps
from robo_reward.runtime.collecting import collect_stage, read_split
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.labelling import find_keyframes, label_key
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.settings import build, unknown
from robo_reward.types import Episode

METRICS = {
    "voc": "voc",
    "vroc": "vroc",
    "progress_error_success": "progress_error",
    "progress_error_failure": "progress_error_failure",
    "success_auc": "success_auc_plain",
    "success_auc_length_matched": "success_auc",
    "success_auc_8_before_end": "success_auc_8_before_end",
    "wrong_instruction_recognised": "wrong_instruction_accuracy",
    "completion_accuracy": "three_way_accuracy",
    "false_success_rate": "false_success_rate",
    "regression_recall": "regression_recall",
    "static_drift_per_100": "stall_drift_per_100_frames",
}
"""Name in the suite's figures -> metric of the benchmark."""


@dataclass(frozen=True)
class Measured:
    """One task of the suite."""

    name: str
    config: Config
    data: StageResult
    reward: StageResult
    bench: StageResult


def run_suite(config: Config) -> list[Measured]:
    """Collect, train, calibrate and measure every task of `suite.tasks`; finished stages are reused."""
    configs = {name: task_config(config, name) for name in config.suite.tasks}
    data = {name: collect_stage(task) for name, task in configs.items()}
    found = {}
    for group in groups(configs):
        joint = _joint_stage([(configs[name], data[name]) for name in group])
        for name in group:
            reward = _calibrate_stage(configs[name], data[name], joint)
            bench = steps.bench_stage(configs[name], data[name], reward)
            found[name] = Measured(name, configs[name], data[name], reward, bench)
    return [found[name] for name in configs]


def task_config(config: Config, name: str) -> Config:
    """The user's settings with the environment `name` of conf/env/."""
    folder = files("robo_reward.conf") / "env"
    known = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
    if name not in known:
        raise ValueError(unknown("suite.tasks entry", name, known))
    env = build(EnvConfig, yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")), "env.")
    return replace(config, env=replace(env, image_size=config.env.image_size, count=config.env.count))


def groups(configs: dict[str, Config]) -> list[list[str]]:
    """Names of the tasks that share a reward model: same cameras and as many stages."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, config in configs.items():
        kind = (*sorted(config.reward.views or config.env.cameras), len(task_of(config.env).stages))
        found.setdefault(kind, []).append(name)
    return list(found.values())


def suite_summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Flat figures: `<task>_<metric>[_low|_high]` and `control_<name>_<task>_<metric>`."""
    flat: dict[str, Any] = {}
    for task in measured:
        rows = json.loads((task.bench.path / "bench.json").read_text())
        flat |= {f"{task.name}_successes": rows[0]["success"], f"{task.name}_failures": rows[0]["failure"]}
        for row in (rows[0], *(row for row in rows[1:] if row["control"])):
            stem = task.name if row is rows[0] else f"control_{row['method'].replace(' ', '_')}_{task.name}"
            for name, key in METRICS.items():
                for suffix in ("", "_low", "_high") if row is rows[0] else ("",):
                    flat[f"{stem}_{name}{suffix}"] = row.get(f"{key}{suffix}")
        rate = rows[0].get("false_success_rate")
        if rate is not None:  # exact: no draw of episodes without an error ever holds one
            exact = clopper_pearson(round(rate * rows[0]["failure"]), rows[0]["failure"])
            flat |= {f"{task.name}_false_success_rate_{side}": getattr(exact, side) for side in ("low", "high")}
        calibrated = ("threshold", "recall", "failures", "false_rate_bound", "bound_met")
        flat |= {f"{task.name}_completion_{k}": task.reward.summary.get(f"completion_{k}") for k in calibrated}
    return flat


def _joint_stage(tasks: Sequence[tuple[Config, StageResult]]) -> StageResult:
    """One reward model for tasks with the same cameras; its completion rule is not calibrated yet."""
    config, _ = tasks[0]
    key = {"reward": config.reward, "completion": config.completion, "every": config.collect.query_every,
           "labels": [label_key(c) for c, _ in tasks]}  # fmt: skip
    return kept_stage(config, "train-reward", key, [data for _, data in tasks], lambda folder: _train(tasks, folder))


def _train(tasks: Sequence[tuple[Config, StageResult]], folder: Path) -> dict[str, Any]:
    from robo_reward.progress.training import train_reward

    episodes: list[Episode] = []
    keyframes: dict[str, Sequence[int]] = {}
    for number, (config, data) in enumerate(tasks):  # episodes of two tasks may have the same name
        episodes += [replace(e, episode_id=f"{number}/{e.episode_id}") for e in steps.reward_episodes(config, data)]
        keyframes |= {f"{number}/{name}": at for name, at in find_keyframes(config, data.path).items()}
    config = tasks[0][0]
    settings = steps.reward_settings(config, len(task_of(config.env).stages))
    settings = replace(settings, steps=settings.steps * len(tasks))
    return train_reward(episodes, settings, folder, config.quiet, [], keyframes)


def _calibrate_stage(config: Config, data: StageResult, joint: StageResult) -> StageResult:
    key = {"every": config.collect.query_every, "views": config.reward.views, "completion": config.completion}
    return kept_stage(config, "calibrate", key, [data, joint], lambda folder: _calibrate(config, data, joint, folder))


def _calibrate(config: Config, data: StageResult, joint: StageResult, folder: Path) -> dict[str, Any]:
    from robo_reward.progress.calibration import calibrate_completion
    from robo_reward.progress.reward_model import load_reward

    reward = load_reward(joint.path)
    episodes = read_split(data.path, "validation", config.collect.query_every, config.reward.views)
    tracker, summary = calibrate_completion(
        reward.model, reward.references, reward.tracker, episodes, steps.completion_target(config)
    )
    replace(reward, tracker=tracker).save(folder)
    return {**joint.summary, **summary}

"""`evaluate policies=RUN,RUN`: trained policies of several runs from the same initial states."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.envs.perturbation import Perturbed, check_axis
from robo_reward.evaluation import plots, report
from robo_reward.evaluation.paired import run_paired
from robo_reward.evaluation.statistics import (
    bootstrap_interval,
    interquartile_mean,
    paired_difference_interval,
    performance_profile,
    wilson_interval,
)
from robo_reward.runtime import steps
from robo_reward.runtime.evaluating import EPISODES, decision_summary, evaluation_key, nominal, stopping_test, told
from robo_reward.runtime.evaluation_results import decision_words, outcome_section
from robo_reward.runtime.finished import (
    BASE,
    FinishedRun,
    finished_run,
    method_of,
    policy_names,
    run_actors,
    space_sizes,
)
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.observing import sight
from robo_reward.runtime.run_folder import RunFolder, write_atomic
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import make_envs, task_of
from robo_reward.terminal import say

TABLE = "policies.csv"
THRESHOLDS = np.linspace(0, 1, 101)


def compare_policies(config: Config) -> dict[str, Any]:
    """Run and report; `policies.csv` in the run folder has a row a policy, in the order given.

    Raises:
        ValueError: an entry that is no finished run, a policy of another action space, or several perturbations.
    """
    condition = condition_of(config)
    runs, bases = policies_of(config)
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as folder:
        stage = _compare_stage(config, runs, bases)
        episodes = json.loads((stage.path / EPISODES).read_text(encoding="utf-8"))
        rows = policy_rows(episodes, task_of(config.env).fps, condition)
        write_table(rows, folder.path)
        for row in rows:
            say(f"{row['policy']:<40}{row['success']:>6.0%}  {row['low']:.0%} to {row['high']:.0%}", config.quiet)
        summary = dict(stage.summary)
        if words := decision_words(summary, rows[1]["policy"]):
            say(words, config.quiet)
        methods = [method_of(run) + BASE * base for run, base in zip(runs.values(), bases, strict=True)]
        profiles, means = _over_seeds(rows, methods)
        summary |= means
        sections = report_sections(config, rows, episodes, profiles, means)
        path = report.write_report(folder.path / "report.html", sections, title="Policies compared")
        say(f"report: {path}", config.quiet)
        return folder.finish({**summary, "wall_s": stage.wall_s})


def policies_of(config: Config) -> tuple[dict[str, FinishedRun], list[bool]]:
    """The runs of `evaluate.policies` by a short name, and whether their frozen base is meant.

    Raises:
        ValueError: an entry that is no finished run, or one that is there twice.
    """
    entries = config.evaluate.policies
    if len(set(entries)) < len(entries):
        raise ValueError(f"evaluate.policies=[{','.join(entries)}] names a policy twice: give each once")
    if config.evaluate.looks > 1 and len(entries) > 2:
        raise ValueError(
            f"evaluate.looks={config.evaluate.looks} tells two policies apart, and evaluate.policies names "
            f"{len(entries)}: leave it out"
        )
    runs = [finished_run(entry.removeprefix(BASE), config) for entry in entries]
    return dict(zip(policy_names(entries), runs, strict=True)), [entry.startswith(BASE) for entry in entries]


def _compare_stage(config: Config, runs: Mapping[str, FinishedRun], bases: Sequence[bool]) -> StageResult:
    named = [[name, base] for name, base in zip(runs, bases, strict=True)]
    key = {**evaluation_key(config), "condition": condition_of(config), "policies": named}
    inputs = {stage.path: stage for run in runs.values() for stage in (run.data, run.base, run.trained)}
    return kept_stage(config, "compare", key, list(inputs.values()),
                      lambda folder: _compare(config, runs, bases, folder))  # fmt: skip


def _compare(config: Config, runs: Mapping[str, FinishedRun], bases: Sequence[bool], folder: Path) -> dict[str, Any]:
    first, test = config.evaluate.first_seed, stopping_test(config) if len(runs) == 2 else None
    with ExitStack() as stack:
        worlds, actors = {}, {}
        for (name, run), base in zip(runs.items(), bases, strict=True):
            see = sight(run.config, run.data, steps.load_base(run.config, run.base))
            see = partial(_world, see, config.perturb.axes, config.perturb.severities)
            worlds[name] = stack.enter_context(closing(make_envs(nominal(config).env, see)))
            actors[name] = run_actors(run, *space_sizes(worlds[name]))["base" if base else "trained"]
        found = run_paired(worlds, actors, range(first, first + config.evaluate.episodes), config.quiet, test=test)
    write_atomic(folder / EPISODES, json.dumps({name: told(config, rows) for name, rows in found.items()}))
    wins = [[e.success for e in rows] for rows in found.values()]
    return {"evaluation_episodes": len(wins[0]), **(decision_summary(wins[0], wins[1], test) if test else {})}


def condition_of(config: Config) -> str:
    """The one perturbation, or what the operator calls it."""
    perturb = config.perturb
    if not perturb.axes:
        return config.evaluate.condition
    check_axis(perturb.axes[0])
    if len(perturb.axes) > 1 or len(perturb.severities) > 1:
        raise ValueError("several policies are compared in one world: give one perturb=AXIS:SEVERITY")
    return f"{perturb.axes[0]}:{perturb.severities[0]}"


def _world(see: Any, axes: Sequence[str], severities: Sequence[int], env: Any) -> Any:
    return see(Perturbed(env, axes[0], severities[0]) if axes else env)


def policy_rows(
    episodes: Mapping[str, Sequence[Mapping[str, Any]]], fps: float, condition: str = "none"
) -> list[dict[str, Any]]:
    """A row for every policy: successes, Wilson interval, difference to the first, time of a success."""
    rows, first = [], [row["success"] for row in next(iter(episodes.values()))]
    for name, found in episodes.items():
        wins = [row["success"] for row in found]
        low, high = wilson_interval(sum(wins), len(wins))
        difference = paired_difference_interval(first, wins)
        steps_taken = [row["steps"] for row in found if row["success"]]
        rows.append({
            "policy": name, "condition": condition, "successes": sum(wins), "episodes": len(wins),
            "success": sum(wins) / len(wins),
            "low": low, "high": high, "difference_low": difference.low, "difference_high": difference.high,
            "cycle_s": float(np.mean(steps_taken)) / fps if steps_taken else None,
        })  # fmt: skip
    return rows


def write_table(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """policies.csv in the folder."""
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _over_seeds(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Methods with several seeds: performance profile by name, and interquartile means, flat."""
    profiles: dict[str, np.ndarray] = {}
    means: dict[str, Any] = {}
    for method in dict.fromkeys(methods):
        own = [row for row, other in zip(rows, methods, strict=True) if other == method]
        if len(own) < 2:
            continue
        scores = [row["success"] for row in own]
        name = f"{own[0]['policy']} and {len(own) - 1} more seed{'s' * (len(own) > 2)}"
        profiles[name] = performance_profile(scores, THRESHOLDS, resamples=500)
        low, high = bootstrap_interval(scores)
        means |= {f"iqm_{len(profiles)}": interquartile_mean(scores), f"iqm_{len(profiles)}_low": low,
                  f"iqm_{len(profiles)}_high": high, f"iqm_{len(profiles)}_of": name}  # fmt: skip
    return profiles, means


def report_sections(
    config: Config, rows: Sequence[Mapping[str, Any]], episodes: Mapping[str, Any],
    profiles: Mapping[str, np.ndarray] | None = None, means: Mapping[str, Any] | None = None,
) -> list[report.Section]:  # fmt: skip
    """Success, differences, outcomes, and what there is over seeds."""
    sections = [
        report.success_table("Success", [report.SuccessRow(r["policy"], r["successes"], r["episodes"]) for r in rows],
                             note="From the same initial states."),
        report.table(
            "Against the first", ["policy", "difference", "low", "high"],
            [[r["policy"], r["success"] - rows[0]["success"], r["difference_low"], r["difference_high"]]
             for r in rows[1:]], note="Paired 95% intervals."),
        outcome_section(episodes, task_of(config.env).fps),
    ]  # fmt: skip
    if profiles and means:
        text = "; ".join(
            f"{means[f'iqm_{n}_of']}: {means[f'iqm_{n}']:.1%} ({means[f'iqm_{n}_low']:.1%} to "
            f"{means[f'iqm_{n}_high']:.1%})"
            for n in range(1, len(profiles) + 1)
        )
        sections.append(
            report.figure("Over seeds", plots.performance_profiles(profiles, list(THRESHOLDS)),
                          "share of seeds whose success is above each rate",
                          f"Interquartile mean with its 95% bootstrap interval over seeds: {text}."))  # fmt: skip
    return sections

"""`evaluate perturb.axes=[...]`: base and trained policy, or the reward model, in perturbed worlds.

Physical axes are measured on the policies: success from the same initial states as the evaluation without any
perturbation. Visual axes change nothing that a policy without cameras sees; they are measured on the reward model, the
error of its progress on the trained policy's episodes, or on the policies where observation=features.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.envs.perturbation import VISUAL, Perturbed, check_axis, paraphrase
from robo_reward.evaluation.paired import run_paired, summarise
from robo_reward.evaluation.statistics import bootstrap_interval
from robo_reward.evaluation.vector import run_episodes
from robo_reward.runtime import steps
from robo_reward.runtime.evaluating import evaluation_key, nominal, paired_actors
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.local import needs_frames
from robo_reward.runtime.observing import World, sight
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import make_envs

COLUMNS = (
    "axis", "severity", "episodes", "base_success", "base_success_low", "base_success_high", "final_success",
    "final_success_low", "final_success_high", "difference_low", "difference_high", "reward_error", "reward_error_low",
    "reward_error_high", "reward_error_unperturbed",
)  # fmt: skip
"""Of perturbations.csv; a cell is empty where it does not apply."""


def check_axes(config: Config) -> None:
    """Raises ValueError for an axis that cannot be measured, before anything is trained for it."""
    for axis in config.perturb.axes:
        check_axis(axis, "perturb.axes entry")
        if axis in VISUAL and not needs_frames(config) and config.observation == "state":
            raise ValueError(f"axis '{axis}' changes what cameras see, and this run has no reward model: leave it out")
        if axis == "instruction" and config.observation == "state" and config.reward.kind != "compact":
            raise ValueError(f"axis 'instruction' asks reward=compact, not reward={config.reward.kind}: leave it out")


def robustness_stage(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, trained: StageResult
) -> StageResult | None:
    """One row for every axis and severity; None when no axis is asked for."""
    if not config.perturb.axes:
        return None
    key = {**evaluation_key(config), "every": config.collect.query_every}
    inputs = [data, base, trained, *([reward] if reward else [])]
    unperturbed: dict[str, Any] = {}
    if any(_unseen(config, axis) for axis in config.perturb.axes):  # of its own, so that every axis shares it
        nothing = {**key, "filmed": config.perturb.filmed}
        unperturbed = dict(kept_stage(config, "perturb", nothing, inputs,
                                      lambda folder: _films(config, data, reward, base, trained)).summary)  # fmt: skip
    return kept_stage(config, "perturb", {**key, "perturb": config.perturb}, inputs,
                      lambda folder: _measure(config, data, reward, base, trained, folder, unperturbed))  # fmt: skip


def _unseen(config: Config, axis: str) -> bool:
    """Whether policies cannot notice the axis."""
    return axis in VISUAL and config.observation == "state"


def _films(
    config: Config, data: StageResult, reward: StageResult | None, base_stage: StageResult, trained: StageResult,
    axis: str = "", severity: int = 0,
) -> dict[str, float]:  # fmt: skip
    """The reward model's error on the trained policy's episodes, under an axis or in the world as it was."""
    base = steps.load_base(config, base_stage)
    act = paired_actors(base, steps.load_agent(config, data, base, trained))["trained"]
    first, count = config.evaluate.first_seed, min(config.evaluate.episodes, config.perturb.filmed)
    see = sight(config, data, base)
    with closing(make_envs(nominal(config).env, partial(_perturbed, see, axis, severity) if axis else see)) as env:
        films = run_episodes(env, act, range(first, first + count), source="policy",
                             query_every=config.collect.query_every)  # fmt: skip
        track = steps.make_annotate(config, reward)
        if axis == "instruction" and reward:
            track = _under_other_words(reward.path, severity)
        return {"episodes": count, **_reward_error(list(films), track)}


def _measure(
    config: Config, data: StageResult, reward: StageResult | None, base_stage: StageResult, trained: StageResult,
    folder: Path, unperturbed: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    base = steps.load_base(config, base_stage)
    actors = paired_actors(base, steps.load_agent(config, data, base, trained))
    rows: list[dict[str, Any]] = []
    for axis in config.perturb.axes:
        for severity in config.perturb.severities:
            if _unseen(config, axis):
                found = _films(config, data, reward, base_stage, trained, axis, severity)
                found["reward_error_unperturbed"] = unperturbed["reward_error"]
            else:
                seeds = range(config.evaluate.first_seed, config.evaluate.first_seed + config.evaluate.episodes)
                wrap = partial(_perturbed, sight(config, data, base), axis, severity)
                with closing(make_envs(nominal(config).env, wrap)) as env:
                    outcomes = run_paired(env, actors, seeds, config.quiet)
                found = {"episodes": len(seeds), **summarise(outcomes["base"], outcomes["trained"])}
            rows.append({"axis": axis, "severity": severity, **found})
    with (folder / "perturbations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return {f"perturb_{r['axis']}_{r['severity']}_{name}": r[name] for r in rows for name in COLUMNS[2:] if name in r}


def _under_other_words(reward: Path, severity: int) -> Callable[..., Any]:
    """The reward model asked in other words; which demonstrations it compares with is told it."""
    from robo_reward.progress.references import References
    from robo_reward.progress.reward_model import load_reward

    trained = load_reward(reward)
    known = {paraphrase(instruction, severity): found for instruction, found in trained.references.items()}
    return replace(trained, references=References(known)).annotate


def _perturbed(see: Callable[[World], World], axis: str, severity: int, env: World) -> World:
    return see(Perturbed(env, axis, severity))


def _reward_error(episodes: list[Any], track: Callable[..., Any]) -> dict[str, float]:
    """Mean over the episodes of |potential - the simulator's progress|, with its 95 % interval."""
    errors = [
        float(np.abs(found.phi - episode.oracle).mean())
        for episode, found in zip(episodes, track(episodes), strict=True)
    ]
    interval = bootstrap_interval(errors, np.mean)
    return {
        "reward_error": float(np.mean(errors)),
        "reward_error_low": interval.low,
        "reward_error_high": interval.high,
    }

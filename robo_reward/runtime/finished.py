"""Policies of runs that are over: a run's folder, and the stages that it stands on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from robo_reward.config import Config
from robo_reward.evaluation.paired import MakeActor
from robo_reward.runtime import steps
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.evaluating import paired_actors
from robo_reward.runtime.run_folder import CONFIG, SUMMARY
from robo_reward.runtime.stages import StageResult, finished_stage
from robo_reward.settings import build, settings_digest

BASE = "base:"
"""What an entry of `evaluate.policies` begins with that means the frozen base."""


@dataclass(frozen=True)
class FinishedRun:
    """A run of `train` and what it left."""

    folder: Path
    own: Config
    """The settings it was trained with."""
    config: Config
    """The same, in the world and with the evaluation of the present command."""
    data: StageResult
    reward: StageResult | None
    base: StageResult
    trained: StageResult


def finished_run(folder: str | Path, command: Config) -> FinishedRun:
    """Read a run's folder; the world, the evaluation and where it is written are those of `command`.

    Raises:
        ValueError: no folder of a finished run of `train`, or one whose stages are gone or damaged.
    """
    folder = Path(folder)
    try:
        # No `train` has read reward_model=; earlier ones did not refuse it either.
        own = build(Config, {**yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")), "reward_model": None})
        kept = Path(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["train_folder"])
    except (OSError, KeyError, TypeError, yaml.YAMLError, json.JSONDecodeError):
        raise ValueError(
            f"{folder} is no finished run of train: give its folder, with {CONFIG} and {SUMMARY}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error} (a run of another version?)") from None
    kept = kept if kept.is_dir() else folder.parent / "stages" / kept.name
    trained, inputs = finished_stage(kept)
    named = {stage.name: stage for stage in inputs}
    config = replace(
        own, command=command.command, quiet=command.quiet, run=command.run, env=command.env, robot=command.robot,
        evaluate=command.evaluate, perturb=command.perturb,
    )  # fmt: skip
    return FinishedRun(folder, own, config, inputs[0], named.get("train-reward"), named["train-base"], trained)


def check_space(run: FinishedRun, action_size: int, state_size: int) -> None:
    """Whether the run's policies fit a world.

    Args:
        run: from `finished_run`.
        action_size: numbers of an action in the world.
        state_size: numbers of agent_pos and estimate there together.

    Raises:
        ValueError: policies of another action or observation space.
    """
    demo = read_split(run.data.path, "demos", views=())[0]
    has, sees = demo.action.shape[1], demo.agent_pos.shape[1] + demo.estimate.shape[1]
    if (has, sees) != (action_size, state_size):
        raise ValueError(
            f"the policy of {run.folder} was trained in {run.own.env.id}: it sees {sees} numbers and its actions have "
            f"{has}, those of {run.config.env.id} are {state_size} and {action_size}; choose the world with env="
        )


def run_actors(run: FinishedRun, action_size: int, state_size: int) -> dict[str, MakeActor]:
    """`base` and `trained` of the run; arguments and errors are those of `check_space`."""
    check_space(run, action_size, state_size)
    base = steps.load_base(run.config, run.base)
    return paired_actors(base, steps.load_agent(run.config, run.data, base, run.trained))


def space_sizes(env: Any) -> tuple[int, int]:
    """(action, agent_pos and estimate) of a world or of several, the arguments of `run_actors`."""
    action = getattr(env, "single_action_space", env.action_space)
    seen = getattr(env, "single_observation_space", env.observation_space)
    return int(action.shape[0]), int(sum(seen[key].shape[0] for key in ("agent_pos", "estimate")))


def method_of(run: FinishedRun) -> str:
    """What runs share that differ in nothing but their seed: a digest of their settings."""
    return settings_digest(json.loads(json.dumps({**asdict(run.own), "seed": 0})))


def policy_names(entries: Sequence[str]) -> list[str]:
    """A short name for every entry, its folder's; the whole entry where two would be alike."""
    short = [("base of " if e.startswith(BASE) else "") + Path(e.removeprefix(BASE)).name for e in entries]
    return [name if short.count(name) == 1 else entry for name, entry in zip(short, entries, strict=True)]

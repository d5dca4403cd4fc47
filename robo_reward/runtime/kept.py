"""Stages of the line as one configuration keeps them: below `run.stages`, by the code of their rooms too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime.stages import StageResult, run_stage, stage_folder

_ROLLOUTS = ("evaluation/rollout.py", "evaluation/vector.py")
_ROOMS = {
    "convert": ("data",),
    "dataset": ("data",),
    "collect": ("envs", "policies", "data", "safety", *_ROLLOUTS, "runtime/collecting.py"),
    "label": ("progress", "evaluation", "runtime/labelling.py"),
    "train-reward": ("progress", "data", "runtime/labelling.py"),
    "tune-reward": ("progress", "data", "runtime/labelling.py"),
    "calibrate": ("progress",),
    "bench-reward": ("progress", "shaping"),
    "annotate": ("progress",),
    "clips": ("progress", "shaping", "evaluation", "data"),
    "recheck": ("progress", "data", "evaluation"),
    "observe": ("progress", "data", "runtime/observing.py"),
    "train-base": ("policies", "learning", "runtime/bases.py", "runtime/demonstrations.py"),
    "train": ("envs", "learning", "shaping", "safety", "hil", "progress", *_ROLLOUTS, "runtime"),
    "evaluate": ("envs", "learning", "safety", "evaluation", "runtime"),
    "compare": ("envs", "learning", "safety", "evaluation", "runtime"),
    "perturb": ("envs", "learning", "safety", "evaluation", "runtime"),
}
"""Rooms, or single files of one, whose code a stage's output depends on, beyond what its input stages stand for."""


def kept_stage(
    config: Config, name: str, key: dict[str, Any], inputs: list[StageResult],
    build: Callable[[Path], Any], resumable: bool = False,
) -> StageResult:  # fmt: skip
    """`run_stage` below `run.stages`, computed anew when the code of the stage's rooms has changed."""
    return run_stage(
        config.run.stages, name, _with_code(config, name, key), inputs, build, resumable=resumable, quiet=config.quiet
    )


def is_kept(config: Config, name: str, key: dict[str, Any], inputs: list[StageResult]) -> tuple[Path, bool]:
    """The folder that `kept_stage` would return, and whether it is whole already. Nothing is written."""
    return stage_folder(config.run.stages, name, _with_code(config, name, key), inputs)


def _with_code(config: Config, name: str, key: dict[str, Any]) -> dict[str, Any]:
    rooms = _ROOMS.get(name, ())
    return {**key, "code": _code_digest((*rooms, "hardware") if config.robot and "envs" in rooms else rooms)}


@cache
def _code_digest(rooms: tuple[str, ...]) -> str:
    """sha256 (12 hex) of the rooms' source files: changed code computes anew."""
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for room in rooms:
        for path in [package / room] if room.endswith(".py") else sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]

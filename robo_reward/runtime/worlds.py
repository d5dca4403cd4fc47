"""Where episodes take place: the simulated environments of `env`, or the robot of `robot`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_reward.config import Config
from robo_reward.evaluation.vector import Environments
from robo_reward.runtime.tasks import make_env, make_envs

if TYPE_CHECKING:
    from robo_reward.hardware.robot_config import RobotConfig
    from robo_reward.safety.limits import Limits

ROBOT_LOG = "robot.jsonl"
"""In the folder of a stage that moved a robot: one line an episode, see `RobotEnv`."""
SIMULATED_TASK = "robo_reward/PegInsert-v0"
_WHERE = ("domain", "interface", "trusted_interface", "transport")
"""Settings that say how a robot is reached, not which one it is."""


def open_world(config: Config, folder: Path, wrap: Callable[[Any], Any] | None = None) -> Environments:
    """The environments of `env.count`, or the one robot; to be closed.

    Args:
        config: of the command.
        folder: the stage's, which takes a robot's log.
        wrap: what to put around each, picklable.

    Raises:
        ValueError: a robot that cannot be reached or does not fit the environment.
    """
    if not config.robot:
        return make_envs(config.env, wrap)
    from robo_reward.hardware.robot_env import open_robot_env

    robot, limits = robot_of(config)
    world = open_robot_env(
        robot, limits, horizon=config.env.horizon, image_size=config.env.image_size, log=folder / ROBOT_LOG,
        unguarded=robot.unguarded,
    )  # fmt: skip
    return world if wrap is None else wrap(world)


def world_key(config: Config) -> dict[str, Any]:
    """The settings that an episode depends on: how many environments run at once is none of them."""
    world = {name: value for name, value in asdict(config.env).items() if name != "count"}
    if config.env.arm:  # by what the file says, not by its name
        from robo_reward.evaluation.identification import load_parameters

        world["arm"] = asdict(load_parameters(config.env.arm))
    if config.robot:
        robot, limits = robot_of(config)
        settings = {name: value for name, value in asdict(robot).items() if name not in _WHERE}
        world["robot"] = {**settings, "limits": asdict(limits)}
    return world


def robot_of(config: Config) -> tuple[RobotConfig, Limits]:
    """The robot of `robot`, with the cameras that `env.cameras` names, and its limits.

    Raises:
        ValueError: a wrong setting, or a robot that does not fit the environment.
    """
    from robo_reward.hardware.robot_config import FOLDER, make_robot
    from robo_reward.safety.limits import read_yaml

    settings = dict(config.robot)
    if file := settings.pop("file", None):
        settings = {**read_yaml(file, FOLDER, "robot")[1], **settings}
    try:
        robot, limits = make_robot(settings)
    except ValueError as error:
        raise ValueError(f"robot: {error}") from None
    if robot.simulated and config.env.id != SIMULATED_TASK:
        raise ValueError(f"the simulated arm knows one task: env.id={SIMULATED_TASK}, not {config.env.id}")
    if missing := [name for name in config.env.cameras if name not in robot.cameras]:
        known = ", ".join(robot.cameras) or "none"
        raise ValueError(f"env.cameras: the robot has no camera '{missing[0]}', it has {known}")
    return replace(robot, cameras={name: robot.cameras[name] for name in config.env.cameras}), limits


def action_size(config: Config) -> int:
    """Numbers of one action in the world of `config`."""
    if config.robot:
        return robot_of(config)[0].actions
    with closing(make_env(config.env)) as env:
        return int(np.prod(env.action_space.shape or ()))

"""`robo-reward identify robot=NAME to=FILE`: move the robot, record it, and fit PegInsert's arm to what it did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.evaluation.identification import (
    ArmLog,
    ArmParameters,
    Excitation,
    at_bounds,
    fit,
    load_log,
    save_parameters,
    trajectory_error,
)
from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.messages import PoseStamped
from robo_reward.hardware.poses import to_axes
from robo_reward.hardware.robot_config import RobotConfig
from robo_reward.hardware.transport import COMMAND
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.tasks import make_env
from robo_reward.runtime.worlds import open_world, robot_of
from robo_reward.terminal import say

ACTIONS, FREE = 180, 100
"""Of one recording: all, and those in the air."""
RECORDINGS = 3
"""The last is held out."""


def identify(config: Config) -> dict[str, Any]:
    """Record, fit, tell the error on the recording that was held out, write the parameters for `env.arm`.

    Recordings that the run folder already has are not made again.

    Raises:
        ValueError: no robot or no file to write, a robot that takes no target poses, one that cannot be reached, or
            parameters that do not hold on the recording that was held out.
    """
    if not config.robot or config.to is None:
        raise ValueError("identify needs robot=NAME to move and to=FILE.json to write the arm's parameters into")
    robot, _ = robot_of(config)
    if robot.command != "target_pose" or robot.actions != 4:
        raise ValueError(
            f"identify fits PegInsert's arm, which takes target poses by 4 numbers; robot= takes {robot.command} by "
            f"{robot.actions}"
        )
    with RunFolder(config.run.dir, config, "identify", config.quiet) as run:
        logs = _recordings(config, robot, run.path)
        with closing(make_env(replace(config.env, arm=None, randomise=()))) as world:
            env = world.unwrapped
            fitted = fit(env, logs[:-1])
            before, after = (trajectory_error(env, logs[-1:], p) for p in (ArmParameters(), fitted))
        stuck = at_bounds(fitted)
        if stuck or after["position_mm"] >= before["position_mm"]:
            why = f"{', '.join(stuck)} went as far as a fit may go, " if stuck else ""
            raise ValueError(
                f"the fit does not hold: {why}error on the recording held out {before['position_mm']:.2f} mm before "
                f"and {after['position_mm']:.2f} mm after; delete {run.path} and record again on a quieter machine"
            )
        save_parameters(fitted, Path(config.to))
        for name, unit in (("position_mm", "mm"), ("rotation_mrad", "mrad")):
            say(f"held out: {name.split('_')[0]} {before[name]:.2f} {unit} before, {after[name]:.2f} {unit} after",
                config.quiet)  # fmt: skip
        say(f"env.arm={config.to}", config.quiet)
        return run.finish({
            **{f"before_{name}": value for name, value in before.items()},
            **{f"after_{name}": value for name, value in after.items()},
            "friction": fitted.friction, "latency_s": fitted.latency_s, "arm": config.to,
        })  # fmt: skip


def _recordings(config: Config, robot: RobotConfig, folder: Path) -> list[ArmLog]:
    paths = [folder / f"recording-{n}.npz" for n in range(RECORDINGS)]
    missing = [n for n, path in enumerate(paths) if not path.exists()]
    if missing:
        world_config = replace(config, env=replace(config.env, horizon=ACTIONS + 1))
        with closing(open_world(world_config, folder)) as world:
            for n in missing:
                say(f"recording {n + 1} of {RECORDINGS}: the arm moves for {ACTIONS / 20:.0f} s", config.quiet)
                _record(world, robot, config.evaluate.first_seed + n).save(paths[n])
    return [load_log(path) for path in paths]


def _record(world: Any, robot: RobotConfig, seed: int) -> ArmLog:
    """One excitation through the safety gate, its targets and poses taken off the wire."""
    sent: list[tuple[float, np.ndarray]] = []
    measured: list[tuple[float, np.ndarray]] = []

    def keep(rows: list[tuple[float, np.ndarray]], message: PoseStamped) -> None:
        rows.append((time.monotonic(), to_axes(message.position, message.orientation, robot.tool_down)))

    act = Excitation(seed, FREE)
    observation, _ = world.reset(seed=seed)
    transport = open_transport(robot)
    try:
        start = time.monotonic()
        transport.subscribe(robot.command_topic, PoseStamped, COMMAND, heard=lambda m: keep(sent, m))
        transport.subscribe(robot.pose, PoseStamped, heard=lambda m: keep(measured, m))
        for _ in range(ACTIONS):
            action, _ = act(observation["agent_pos"], observation["estimate"])
            observation, _, terminated, truncated, info = world.step(action)
            if "fault" in info:
                raise ValueError(f"the recording was cut short: {info['fault']}; run the same command again")
            if terminated or truncated:
                break
    finally:
        transport.close()
    if not sent or not measured:
        raise ValueError(f"nothing was heard on /{robot.command_topic} or /{robot.pose} while the arm moved")
    return ArmLog(seed, *_rows(sent, start), *_rows(measured, start, every=0.016))


def _rows(rows: Sequence[tuple[float, np.ndarray]], start: float, every: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Times from the start and values, thinned to one in `every` seconds."""
    kept: list[tuple[float, np.ndarray]] = []
    for at, value in list(rows):
        if at >= start and (not kept or at - start - kept[-1][0] >= every):
            kept.append((at - start, value))
    return np.array([at for at, _ in kept]), np.stack([value for _, value in kept])

"""`robo-reward robot check|jog|home|record|replay`: a robot by hand, before any policy touches it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from robo_reward.data.arrays import read_arrays, write_arrays
from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.check import Finding, check
from robo_reward.hardware.keyboard import keyboard, newest_key
from robo_reward.hardware.robot import Robot, RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.safety.limits import Limits
from robo_reward.settings import unknown

USAGE = """\
robo-reward robot <what> robot=NAME [setting=value ...]

  check    look at topics, rates, ages, frames, clocks and limits; nothing is sent to the robot (bridge=true: its
           bridge is running, and the only writer)
  jog      drive it from the keyboard
  home     lead it to the pose `home` of its file
  record   write the pose, again and again, into to=FILE.npz while somebody leads the arm by hand: seconds=30
  replay   lead it through file=FILE.npz, slowly: speed=0.3 of the recorded one
  device   show what teleop=NAME says for seconds=, or record it: to=FILE.jsonl; robot= only for devices on its wire

settings: robot=NAME or FILE.yaml   domain=0   unguarded=true (a controller without a command time-out)"""
PERIOD_S = 0.05
ARRIVED = np.array([0.002, 0.002, 0.002, 0.02, 0.02, 0.02])
"""Distance from a goal [m, rad] that counts as being there."""
KEYS = {"w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1), "q": (5, 1), "e": (5, -1)}
"""Key -> axis and direction."""
DEAD_MAN_S = 0.25
"""Time after which a key that does not repeat counts as let go."""


def main(words: list[str]) -> None:
    """The words after `robo-reward robot`. ValueError in one line on a mistake or a red table."""
    if not words or words[0] in ("-h", "--help", "help", "-sc"):
        print(USAGE if words[:1] != ["-sc"] else " ".join(ACTIONS))
        return
    if words[0] not in {*ACTIONS, "device"}:
        raise ValueError(unknown("word", words[0], {*ACTIONS, "device"}))
    settings = dict.fromkeys(("robot", "teleop", "domain", "to", "file"), "")
    settings |= {"unguarded": "false", "bridge": "false", "seconds": "3", "speed": "0.3"}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word}: settings are written name=value")
        if key not in settings:
            raise ValueError(unknown("setting", key, settings))
        settings[key] = value
    if words[0] == "device":
        _device(settings)
        return
    if not settings["robot"]:
        raise ValueError("say which: robot=NAME, such as robot=sim_arm, or robot=FILE.yaml")
    config, limits = _robot(settings)
    try:
        ACTIONS[words[0]](config, limits, settings)
    except RobotFault as error:
        raise ValueError(str(error)) from None


def _robot(settings: dict[str, str]) -> tuple[RobotConfig, Limits]:
    config, limits = load_robot(settings["robot"])
    if settings["domain"]:
        config = replace(config, domain=int(_number(settings, "domain", 0, 101)))
    return config, limits


def _device(settings: dict[str, str]) -> None:
    from robo_reward.hardware.devices import show

    if not settings["teleop"]:
        raise ValueError("say which: teleop=NAME, such as teleop=gamepad, or teleop=FILE.yaml")
    robot = _robot(settings)[0] if settings["robot"] else None
    show(settings["teleop"], robot, _number(settings, "seconds", 0.1, 3600), settings["to"])


def _number(settings: dict[str, str], name: str, low: float, high: float) -> float:
    try:
        value = float(settings[name])
    except ValueError:
        raise ValueError(f"{name}={settings[name]}: expected a number") from None
    if not low <= value <= high:
        raise ValueError(f"{name}={settings[name]}: must be from {low:g} to {high:g}")
    return value


@contextmanager
def _armed(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> Iterator[Ros2Robot]:
    """The robot, armed, without cameras; held on the way out."""
    robot = Ros2Robot(replace(config, cameras={}), limits)
    robot.connect()
    try:
        robot.arm(unguarded=settings["unguarded"] == "true")
        yield robot
    finally:
        robot.close()


def _check(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> None:
    transport = open_transport(config)
    try:
        findings = check(config, limits, transport, _number(settings, "seconds", 1, 600), settings["bridge"] == "true")
    finally:
        transport.close()
    print(table(findings, sys.stdout.isatty()))
    if bad := [finding.what for finding in findings if not finding.good]:
        raise ValueError(f"{len(bad)} of {len(findings)} checks failed: {', '.join(bad)}")


def table(findings: list[Finding], colour: bool = False) -> str:
    """Findings as lines, red ones marked."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        word = "ok  " if finding.good else "BAD "
        if colour:
            word = f"\033[3{2 if finding.good else 1}m{word}\033[0m"
        lines.append(f"{word} {finding.what:<{width}}  {finding.found}")
    return "\n".join(lines)


def _jog(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> None:
    more = " o/c open and close the gripper;" if config.gripper else ""
    print(f"w/s x, a/d y, r/f z, q/e turn;{more} space stops; x leaves. Moves while the key is held.")
    with keyboard(urgent="x ") as keys, _armed(config, limits, settings) as robot:
        jog(robot, config.axes, lambda seconds: newest_key(keys(seconds)), bool(config.gripper))


def jog(robot: Robot, axes: tuple[int, ...], key: Callable[[float], str], gripper: bool = False) -> None:
    """Send what the keys say, 20 times a second, until `x`.

    Args:
        robot: armed.
        axes: those that actions drive.
        key: waits so many seconds at most and returns the key that was pressed, or an empty text.
        gripper: whether o opens and c closes one.
    """
    axis, direction, pressed = 0, 0.0, -np.inf
    grip: list[float] = []
    while (found := key(PERIOD_S)) != "x":
        now = time.monotonic()
        if found == " ":
            robot.stop("space bar")
            return
        if found in KEYS and KEYS[found][0] in axes:
            (axis, direction), pressed = KEYS[found], now
        action = np.zeros(len(axes))
        if now - pressed <= DEAD_MAN_S:
            action[axes.index(axis)] = direction
        if gripper and found in ("o", "c"):
            grip = [-1.0 if found == "o" else 1.0]
        robot.send(np.append(action, grip))


def _home(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> None:
    if not config.home:
        raise ValueError("this robot's file has no home: write home: [x, y, z, rx, ry, rz]")
    with _armed(config, limits, settings) as robot:
        follow(robot, np.array([config.home]), config.axes, limits)


def follow(
    robot: Robot,
    poses: Float[np.ndarray, "T N"],
    axes: tuple[int, ...],
    limits: Limits,
    speed: float = 0.3,
    patience_s: float = 3.0,
    heed: Callable[[], None] = lambda: None,
) -> None:
    """Lead an armed robot through poses, one after the other, through the gate like any policy.

    `heed` is called before every action; what it raises ends the way there.

    Raises:
        RobotFault: the robot holds, or comes no nearer to a pose for `patience_s`.
    """
    driven, step = list(axes), limits.arrays["step"]
    near = np.minimum(np.resize(ARRIVED, len(step)), step / 2)
    for number, pose in enumerate(poses):
        best, since = np.inf, time.monotonic()
        while True:
            away = (pose - robot.observe().sensed.pose)[driven]
            if np.all(np.abs(away) <= near[driven]):
                break
            distance = float(np.max(np.abs(away) / step[driven]))
            if distance < best - 0.05:
                best, since = distance, time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise RobotFault(f"pose {number + 1} of {len(poses)} is not reached: {np.round(away, 4).tolist()} away")
            wanted = away / step[driven]
            heed()
            robot.send(wanted * min(1.0, speed / float(np.abs(wanted).max())))
            time.sleep(PERIOD_S)


def _record(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> None:
    path, seconds = Path(settings["to"]), _number(settings, "seconds", 0.1, 3600)
    if path.suffix != ".npz":
        raise ValueError("say where to: to=FILE.npz")
    if path.exists():
        raise ValueError(f"{path} is there already: choose another name")
    from robo_reward.hardware.arm_state import ArmState

    transport = open_transport(config)
    try:
        state, poses, began = ArmState(config, transport), [], time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(PERIOD_S)
            if (sensed := state.read()) is not None:
                poses.append(sensed.pose)
        if not poses:
            raise ValueError(f"nothing to record: {state.missing}")
    finally:
        transport.close()
    write_arrays(path, {"poses": np.array(poses), "period_s": np.array(PERIOD_S)})
    print(f"{len(poses)} poses in {path}")


def read_poses(path: Path, axes: int) -> Float[np.ndarray, "T N"]:
    """The poses of a recording, or ValueError when the file is none for a robot of so many axes."""
    try:
        poses = np.asarray(read_arrays(path)["poses"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a recording ({error})") from None
    if poses.ndim != 2 or poses.shape[1] != axes or not np.isfinite(poses).all():
        raise ValueError(f"{path}: poses of shape {poses.shape}, expected (T, {axes}), all finite")
    return poses


def _replay(config: RobotConfig, limits: Limits, settings: dict[str, str]) -> None:
    poses = read_poses(Path(settings["file"]), len(limits.step))
    with _armed(config, limits, settings) as robot:
        follow(robot, poses, config.axes, limits, _number(settings, "speed", 0.05, 1))


ACTIONS = {"check": _check, "jog": _jog, "home": _home, "record": _record, "replay": _replay}

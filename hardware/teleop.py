"""A person's device as actions: mapping, dead-band, dead-man, staleness; whatever the device is.

A device gives `Reading`s. `Teleop` makes of the newest one what a person asks for, as `robo_reward.hil.arbitration`
takes it, and the events of its buttons and keys. Nothing here moves an arm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64

from robo_reward.hardware.robot_config import JOINT_COMMANDS, RobotConfig
from robo_reward.hil.arbitration import HumanInput
from robo_reward.safety.limits import Limits, read_yaml
from robo_reward.settings import build, choice, number, unknown

FOLDER = Path(__file__).parents[1] / "conf" / "teleop"
DEVICES = ("keyboard", "gamepad", "spacemouse", "joy", "twist", "leader")
EVENT_KEYS = {"\n": "start", "\r": "start", "y": "success", "n": "failure", "c": "discard", "b": "re_record",
              "t": "partial", "z": "undo", " ": "stop", "x": "leave", "o": "open", "p": "close"}  # fmt: skip
"""Key -> what it says of an episode or of the gripper, with every device."""
EVENTS = tuple(dict.fromkeys(EVENT_KEYS.values()))
GRIP = {"open": -1.0, "close": 1.0}
"""The gripper's number in an action."""


@dataclass(frozen=True)
class TeleopConfig:
    """One device and what its axes mean."""

    device: str = choice("keyboard", *DEVICES)
    source: str = ""
    """Device file, such as /dev/input/js0, or topic; empty takes the first device of its kind."""
    axes: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """The device's axis for each of the robot's; -1 for none."""
    scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """Action at full deflection, with its sign; of a leader arm, the robot's motion for one of the leader's."""
    dead_band: float = number(0.1, low=0, high=0.9)
    """Deflection that counts as none."""
    dead_man: int = number(-1, low=-1, high=63)
    """Button that must be held for the arm to move; -1: deflection itself, for devices that spring back."""
    stale_s: float = number(0.2, above=0, high=5)
    """Age [s] at which what the device said last is let go of."""
    buttons: Mapping[str, int] = field(default_factory=dict)
    """Button for an event: start, success, failure, partial, undo, discard, re_record, stop, leave, open, close."""
    joints: tuple[str, ...] = ()
    """Joints of a leader arm, in the order of the robot's."""
    pedal: str = ""
    """Joy topic with the dead-man of a leader arm."""


@dataclass(frozen=True)
class Reading:
    """What a device says at one moment."""

    axes: Float64[np.ndarray, "N"]
    """Deflections in [-1, 1]; of a leader arm its joints [rad]."""
    buttons: frozenset[int]
    """Those that are pressed."""
    time_s: float
    """When it was said, local monotonic clock."""
    silent: bool = False
    """Whether the device speaks only of changes, so that silence at rest is no loss."""
    keys: str = ""
    """Keys that were pressed on its keyboard."""


class Device(Protocol):
    """Something that a hand moves."""

    def read(self) -> Reading | None:
        """The newest reading, however old; None while there is none, or no device any more. Does not wait."""

    def close(self) -> None:
        """Let go of it. Does nothing the second time."""


class Teleop:
    """A person at a device: an `Operator` of `robo_reward.hil.corrected`.

    Arguments:
        config: of the device.
        device: the device itself.
        robot: whose axes are driven.
        limits: the robot's.
        clock: monotonic seconds, the clock of the readings.
        grip: the gripper's number until the person opens or closes it.

    Raises:
        ValueError: device and robot do not go together.
    """

    def __init__(
        self,
        config: TeleopConfig,
        device: Device,
        robot: RobotConfig,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        grip: float = GRIP["open"],
    ) -> None:
        check_teleop(config, robot)
        self.config, self._device, self._clock = config, device, clock
        driven = list(robot.axes)
        self._axes, self._scale = np.array(config.axes)[driven], np.array(config.scale)[driven]
        self._driven, self._step = driven, limits.arrays["step"][driven]
        self._grip = [grip] if robot.gripper else []
        self._pressed: frozenset[int] = frozenset()
        self._events: list[str] = []
        self._engaged: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def rest(self) -> np.ndarray:
        """The action of nobody: no motion, the gripper as it was asked for last."""
        return np.array([0.0] * len(self._driven) + self._grip, np.float32)

    def watch(self, info: Mapping[str, Any]) -> None:
        """A person looks at the robot itself."""

    def read(self, agent_pos: np.ndarray, estimate: np.ndarray) -> HumanInput:
        """What the person asks for now; never held when the device is silent, gone or says something impossible."""
        reading, nothing = self._take(), self.rest
        if reading is None or not np.isfinite(reading.axes).all() or len(reading.axes) <= self._axes.max():
            self._engaged = None
            return HumanInput(nothing, False, -np.inf)
        held = self.config.dead_man in reading.buttons
        if self.config.device == "leader":
            action = self._follow(reading.axes, agent_pos, held)
        else:
            action = np.where(self._axes < 0, 0.0, reading.axes[self._axes]) * self._scale
        band = self.config.dead_band
        action = np.sign(action) * np.clip((np.abs(action) - band) / (1 - band), 0.0, 1.0)
        if self.config.dead_man < 0:
            held = bool(action.any())
        rests = reading.silent and not action.any()
        said = self._clock() if rests else reading.time_s
        if not held or self._clock() - said > self.config.stale_s:
            self._engaged = None
            return HumanInput(nothing, False, said)
        return HumanInput(np.array([*action, *self._grip], np.float32), True, said)

    def events(self) -> list[str]:
        """What keys and buttons said since the last call, in order: of `EVENTS`."""
        self._take()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()

    def _take(self) -> Reading | None:
        reading = self._device.read()
        if reading is not None:
            new, self._pressed = reading.buttons - self._pressed, reading.buttons
            heard = [event for event, button in self.config.buttons.items() if button in new]
            heard += [EVENT_KEYS[key] for key in reading.keys if key in EVENT_KEYS]
            self._events += heard
            if self._grip and (asked := [GRIP[event] for event in heard if event in GRIP]):
                self._grip = asked[-1:]
        return reading

    def _follow(self, leader: np.ndarray, agent_pos: np.ndarray, held: bool) -> np.ndarray:
        """Towards where the robot was when the dead-man was pressed, plus what the leader has moved since."""
        measured = np.asarray(agent_pos, np.float64)[self._driven]
        if not held:
            self._engaged = None
            return np.zeros(len(measured))
        moved = leader[self._axes]
        if self._engaged is None:
            self._engaged = measured, moved
        start, origin = self._engaged
        return np.where(self._axes < 0, 0.0, (start + (moved - origin) * self._scale - measured) / self._step)


def load_teleop(name: str) -> TeleopConfig:
    """The device in `conf/teleop/{name}.yaml`, or in the file `name` when it ends in `.yaml`.

    Raises:
        ValueError: no such file, or an unknown or wrong setting.
    """
    path, settings = read_yaml(name, FOLDER, "teleop")
    try:
        return check_device(build(TeleopConfig, settings))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_device(config: TeleopConfig) -> TeleopConfig:
    """The configuration, or ValueError naming what cannot be meant."""
    if len(config.axes) != len(config.scale):
        raise ValueError(f"axes has {len(config.axes)} numbers, scale has {len(config.scale)}; every axis needs one")
    if not config.axes or min(config.axes) < -1 or max(config.axes) < 0:
        raise ValueError(f"axes={list(config.axes)}: expected numbers from 0, or -1 for none, not -1 throughout")
    if not np.isfinite(config.scale).all():
        raise ValueError(f"scale={list(config.scale)}: every number must be finite")
    for event in config.buttons:
        if event not in EVENTS:
            raise ValueError(unknown("buttons entry", event, EVENTS))
    if config.device in ("joy", "twist", "leader") and not config.source:
        raise ValueError(f"device={config.device} needs source=TOPIC")
    if config.device == "leader" and (config.dead_man < 0 or not config.pedal or not config.joints):
        raise ValueError(
            "device=leader needs joints, and the dead_man button of a pedal topic: arms do not spring back"
        )
    return config


def check_teleop(config: TeleopConfig, robot: RobotConfig) -> None:
    """ValueError when device and robot do not go together."""
    if max(robot.axes) >= len(config.axes):
        raise ValueError(f"axes has {len(config.axes)} numbers, the robot's axis {max(robot.axes)} has none")
    if config.device == "leader" and robot.command not in JOINT_COMMANDS:
        raise ValueError(
            f"a leader arm drives joints, and this robot takes {robot.command}: use a robot with command "
            f"{' or '.join(JOINT_COMMANDS)}, or another teleop"
        )

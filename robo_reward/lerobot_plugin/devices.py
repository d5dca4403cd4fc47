"""The two classes that LeRobot makes from their configurations. Actions are ours: in [-1, 1], a number each axis."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig
from lerobot.teleoperators import Teleoperator, TeleoperatorConfig
from lerobot.teleoperators.utils import TeleopEvents

from robo_reward.hardware.devices import open_device
from robo_reward.hardware.keyboard import keyboard
from robo_reward.hardware.robot import Ros2Robot
from robo_reward.hardware.robot_config import JOINT_COMMANDS, load_robot
from robo_reward.hardware.robot_config import RobotConfig as WireConfig
from robo_reward.hardware.teleop import Teleop
from robo_reward.safety.limits import Limits

AXES = ("x", "y", "z", "rx", "ry", "rz")


@RobotConfig.register_subclass("robo_reward")
@dataclass(kw_only=True)
class RoboRewardRobotConfig(RobotConfig):
    """A robot of `conf/robot` behind our bridge."""

    robot: str = "sim_arm"
    """Its name, or its file."""
    domain: int | None = None
    """In place of the file's."""
    unguarded: bool = False
    """Whether a controller without a command time-out may be driven."""


@TeleoperatorConfig.register_subclass("robo_reward")
@dataclass(kw_only=True)
class RoboRewardTeleopConfig(TeleoperatorConfig):
    """A device of `conf/teleop`."""

    teleop: str = "keyboard"
    """Its name, its file, or a recording."""
    robot: str = "sim_arm"
    """Whose axes it drives."""
    domain: int | None = None
    """In place of the robot file's, for devices on its wire."""


class RoboRewardRobot(Robot):
    """A robot behind gate and bridge. `send_action` returns what was executed; a `RobotFault` means that it holds."""

    config_class = RoboRewardRobotConfig
    name = "robo_reward"

    def __init__(self, config: RoboRewardRobotConfig) -> None:
        super().__init__(config)
        self.config = config
        self._wire, self._limits = _load(config.robot, config.domain)
        self._robot: Ros2Robot | None = None

    @cached_property
    def observation_features(self) -> dict[str, Any]:
        """Joints [rad], for a robot that takes poses the pose too [m, rad], and the cameras."""
        features: dict[str, Any] = {f"{joint}.pos": float for joint in self._wire.joints}
        if self._wire.command not in JOINT_COMMANDS:
            features |= {f"tool.{axis}": float for axis in AXES}
        if self._wire.gripper:
            features["gripper.opening"] = float
        return features | {view: (*self._wire.image_size, 3) for view in self._wire.cameras}

    @cached_property
    def action_features(self) -> dict[str, Any]:
        """`delta.AXIS` for every driven axis, 1 is the step of the robot's limits; `gripper`, -1 opens, +1 closes."""
        return dict.fromkeys(_action_names(self._wire), float)

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called and `disconnect` not."""
        return self._robot is not None

    @property
    def is_calibrated(self) -> bool:
        """The robot's controller is."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def connect(self, calibrate: bool = True) -> None:
        """Start the bridge and arm."""
        robot = Ros2Robot(self._wire, self._limits)
        robot.connect()
        try:
            robot.arm(self.config.unguarded)
        except BaseException:
            robot.close()
            raise
        self._robot = robot

    def get_observation(self) -> dict[str, Any]:
        """The newest state and pictures."""
        seen = self._connected().observe()
        values = list(seen.sensed.joints)
        if self._wire.command not in JOINT_COMMANDS:
            values += list(seen.sensed.pose)
        if seen.opening is not None:
            values.append(seen.opening)
        names = [name for name in self.observation_features if name not in self._wire.cameras]
        return {**dict(zip(names, map(float, values), strict=True)), **seen.pixels}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Through the gate; returns the executed action."""
        asked = np.array([float(action[name]) for name in self.action_features])
        return dict(zip(self.action_features, map(float, self._connected().send(asked)), strict=True))

    def disconnect(self) -> None:
        """Hold, and end the bridge."""
        robot, self._robot = self._robot, None
        if robot is not None:
            robot.close()

    def _connected(self) -> Ros2Robot:
        if self._robot is None:
            raise ConnectionError("the robot is not connected: call connect() first")
        return self._robot


class RoboRewardTeleop(Teleoperator):
    """A device with its dead-man: the action is zero unless it is held and fresh."""

    config_class = RoboRewardTeleopConfig
    name = "robo_reward"

    def __init__(self, config: RoboRewardTeleopConfig) -> None:
        super().__init__(config)
        self._wire, self._limits = _load(config.robot, config.domain)
        self.config, self._opened, self._held = config, ExitStack(), False
        self._teleop: Teleop | None = None

    @cached_property
    def action_features(self) -> dict[str, Any]:
        """Those of the robot."""
        return dict.fromkeys(_action_names(self._wire), float)

    @property
    def feedback_features(self) -> dict[str, Any]:
        """None."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether the device is open."""
        return self._teleop is not None

    @property
    def is_calibrated(self) -> bool:
        """Nothing needs it."""
        return True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def connect(self, calibrate: bool = True) -> None:
        """Open the device; ValueError when there is none, or for a leader arm, which needs the follower's joints."""
        with ExitStack() as stack:
            keys = stack.enter_context(keyboard()) if sys.stdin.isatty() else None
            config, device = open_device(self.config.teleop, keys, self._wire)
            stack.callback(device.close)
            if config.device == "leader":
                raise ValueError(
                    "a leader arm follows the robot's joints, which LeRobot does not hand to a teleoperator"
                )
            self._teleop = Teleop(config, device, self._wire, self._limits)
            self._opened = stack.pop_all()

    def get_action(self) -> dict[str, Any]:
        """What the person asks for."""
        human = self._connected().read(np.zeros(0), np.zeros(0))
        self._held = human.held
        return dict(zip(self.action_features, map(float, human.action), strict=True))

    def get_teleop_events(self) -> dict[TeleopEvents, bool]:
        """What LeRobot's human-in-the-loop training asks for, as of the last action."""
        heard = self._connected().events()
        return {
            TeleopEvents.IS_INTERVENTION: self._held,
            TeleopEvents.TERMINATE_EPISODE: bool(heard),
            TeleopEvents.SUCCESS: "success" in heard,
            TeleopEvents.RERECORD_EPISODE: "re_record" in heard,
        }

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """The devices have none."""

    def disconnect(self) -> None:
        """Let go of the device."""
        self._teleop = None
        self._opened.close()

    def _connected(self) -> Teleop:
        if self._teleop is None:
            raise ConnectionError("the device is not connected: call connect() first")
        return self._teleop


def _load(name: str, domain: int | None) -> tuple[WireConfig, Limits]:
    config, limits = load_robot(name)
    return (config if domain is None else replace(config, domain=domain)), limits


def _action_names(config: WireConfig) -> list[str]:
    names = config.joints if config.command in JOINT_COMMANDS else AXES
    return [f"delta.{names[axis]}" for axis in config.axes] + ["gripper"] * bool(config.gripper)

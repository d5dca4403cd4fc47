"""What a robot is called on the wire: topics, joints, cameras, command; one YAML file of `conf/robot` each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.hardware.poses import TOOL_DOWN
from robo_reward.safety.limits import Limits, load_limits, read_yaml
from robo_reward.settings import build, choice, number

FOLDER = Path(__file__).parents[1] / "conf" / "robot"
JOINT_COMMANDS = ("joint_positions", "joint_trajectory")


@dataclass(frozen=True)
class RobotConfig:
    """One robot. Topic names are relative to the root; empty means that there is no such topic."""

    limits: str
    """Safety limits: a name in `conf/safety` or a file ending in `.yaml`."""
    joints: tuple[str, ...]
    """Joint names in the order of the limits; messages may list them in any order."""
    transport: str = choice("dds", "dds", "rclpy")
    domain: int = number(0, low=0, high=101)
    """ROS_DOMAIN_ID."""
    interface: str = "127.0.0.1"
    trusted_interface: str = ""
    """The interface once more, when it is not the loopback: everybody there may move the robot."""
    command: str = choice("target_pose", "target_pose", "twist", *JOINT_COMMANDS)
    """What is sent: PoseStamped for a Cartesian impedance controller, TwistStamped for MoveIt Servo, Float64MultiArray
    for a forward controller, JointTrajectory for a trajectory controller."""
    command_topic: str = "target_pose"
    joint_states: str = "joint_states"
    pose: str = "current_pose"
    """PoseStamped of the tool; not read for joint commands."""
    wrench: str = ""
    """WrenchStamped of the contact, in the base frame."""
    stop: str = "emergency_stop"
    """Latched Bool: true stops. False ends nothing, that takes `clear`."""
    fault: str = ""
    """Latched String: what the robot itself reports, such as a reflex; anything but an empty text holds."""
    frame: str = "base"
    """Frame of poses and commands; a pose in another frame is refused."""
    tool_down: tuple[float, ...] = TOOL_DOWN
    """Quaternion x y z w of the tool when it looks down: rotation zero of the limits and actions."""
    axes: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Axes that actions drive, in the order of the action's numbers."""
    home: tuple[float, ...] = ()
    """Pose that `robo-reward robot home` leads to, in the axes of the limits."""
    gripper: str = ""
    """Float64MultiArray of one number, the opening: a width [m] or a joint's position [rad]. Actions then end in one
    more number: -1 opens, +1 closes."""
    gripper_open: float = 0.08
    gripper_closed: float = 0.0
    """What is sent for -1 and for +1."""
    gripper_state: str = ""
    """JointState whose first position is the measured opening; empty: what was sent is taken for it."""
    cameras: Mapping[str, str] = field(default_factory=dict)
    """View name -> Image topic, or `v4l2:` and the path of a camera of this computer, such as v4l2:/dev/video0."""
    camera_hz: float = number(30.0, above=0, high=1000.0)
    image_size: tuple[int, ...] = (480, 640)
    """Height and width of every camera's images; another size is refused."""
    simulated: bool = False
    """Whether it is the simulated arm, which commands start themselves and which judges its own episodes."""
    unguarded: bool = False
    """Whether `train`, `collect` and `evaluate` may arm a controller without a command time-out of its own."""
    path: str = ""
    """Recording of `robo-reward robot record` along which the arm is led before every episode; then it is led home."""
    ask: bool = True
    """Whether the operator is asked to set the scene up before every episode."""
    instruction: str = ""
    """What the robot is to do, in words."""
    estimate: str = ""
    """Float64MultiArray of estimated object poses, which policies see."""
    judge: str = ""
    """Float64MultiArray of stage, progress and success; empty: the operator presses s when the task is done."""

    @property
    def actions(self) -> int:
        """Numbers of an action."""
        return len(self.axes) + bool(self.gripper)


def load_robot(name: str) -> tuple[RobotConfig, Limits]:
    """The robot in `conf/robot/{name}.yaml`, or in the file `name` when it ends in `.yaml`, and its limits.

    Raises:
        ValueError: no such file, an unknown or wrong setting, or settings that do not go together.
    """
    path, settings = read_yaml(name, FOLDER, "robot")
    try:
        return make_robot(settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def make_robot(settings: Mapping[str, Any]) -> tuple[RobotConfig, Limits]:
    """The robot of these settings and its limits; ValueError as `load_robot`."""
    config = build(RobotConfig, settings)
    limits = load_limits(config.limits)
    check_robot(config, limits)
    return config, limits


def check_robot(config: RobotConfig, limits: Limits) -> None:
    """ValueError when the robot and its limits do not go together."""
    if len(config.joints) != len(limits.joint_low) or len(set(config.joints)) != len(config.joints):
        raise ValueError(
            f"joints names {len(set(config.joints))} different joints, {config.limits} has limits for "
            f"{len(limits.joint_low)}"
        )
    size, expected = len(limits.step), len(config.joints) if config.command in JOINT_COMMANDS else 6
    if size != expected:
        raise ValueError(f"command={config.command} needs limits of {expected} axes, {config.limits} has {size}")
    if not config.axes or not set(config.axes) <= set(range(size)) or len(set(config.axes)) != len(config.axes):
        raise ValueError(f"axes={list(config.axes)}: choose different numbers from 0 to {size - 1}")
    if abs(sum(value**2 for value in config.tool_down) - 1) > 1e-3 or len(config.tool_down) != 4:
        raise ValueError(f"tool_down={list(config.tool_down)}: expected a quaternion x y z w of length 1")
    a = limits.arrays
    if config.home and (len(config.home) != size or np.any(config.home < a["low"]) or np.any(config.home > a["high"])):
        raise ValueError(f"home={list(config.home)}: expected {size} numbers inside the workspace of {config.limits}")
    if config.gripper and config.gripper_open == config.gripper_closed:
        raise ValueError(f"gripper_open={config.gripper_open} and gripper_closed must differ")
    if len(config.image_size) != 2 or min(config.image_size) < 1:
        raise ValueError(f"image_size={list(config.image_size)}: expected height and width")

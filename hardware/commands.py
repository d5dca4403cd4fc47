"""Setpoints as the message that a robot's controller takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from robo_reward.hardware.messages import (
    Float64MultiArray,
    Header,
    JointTrajectory,
    JointTrajectoryPoint,
    Message,
    PoseStamped,
    TwistStamped,
)
from robo_reward.hardware.poses import from_axes
from robo_reward.hardware.robot_config import RobotConfig

Setpoint = Float[np.ndarray, "N"]
Command = Callable[[RobotConfig, Setpoint, Setpoint, float], Message]
"""Robot, setpoint, its velocity [1/s], period [s] -> message."""


def now_header(frame: str) -> Header:
    """A header stamped with the wall clock: controllers compare it with their own."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return Header(sec=seconds, nanosec=nanoseconds, frame_id=frame)


def _target_pose(config: RobotConfig, setpoint: Setpoint, velocity: Setpoint, period_s: float) -> Message:
    position, orientation = from_axes(setpoint, config.tool_down)
    return PoseStamped(now_header(config.frame), position, orientation)


def _twist(config: RobotConfig, setpoint: Setpoint, velocity: Setpoint, period_s: float) -> Message:
    return TwistStamped(now_header(config.frame), velocity[:3], velocity[3:])


def _joint_positions(config: RobotConfig, setpoint: Setpoint, velocity: Setpoint, period_s: float) -> Message:
    return Float64MultiArray(data=setpoint)


def _joint_trajectory(config: RobotConfig, setpoint: Setpoint, velocity: Setpoint, period_s: float) -> Message:
    point = JointTrajectoryPoint(positions=setpoint, velocities=velocity, nanosec=int(period_s * 1e9))
    return JointTrajectory(Header(frame_id=config.frame), config.joints, (point,))


COMMANDS: dict[str, tuple[type[Message], Command]] = {
    "target_pose": (PoseStamped, _target_pose),
    "twist": (TwistStamped, _twist),
    "joint_positions": (Float64MultiArray, _joint_positions),
    "joint_trajectory": (JointTrajectory, _joint_trajectory),
}
"""`RobotConfig.command` -> message type and how it is made."""

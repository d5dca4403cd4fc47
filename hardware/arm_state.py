"""The arm's state from its topics: joints put into order, one time for the whole, missing speeds worked out."""

from __future__ import annotations

import numpy as np

from robo_reward.hardware.messages import JointState, PoseStamped, WrenchStamped
from robo_reward.hardware.poses import to_axes
from robo_reward.hardware.robot_config import JOINT_COMMANDS, RobotConfig
from robo_reward.hardware.transport import Received, Transport
from robo_reward.safety.arm_gate import Sensed

SPEED_WINDOW = 0.04
"""Time [s] between two joint positions from which a speed is worked out: long against the noise of arrival times."""


class ArmState:
    """Subscribes to an arm's topics and puts their newest messages together."""

    def __init__(self, config: RobotConfig, transport: Transport) -> None:
        self._config = config
        self._cartesian = config.command not in JOINT_COMMANDS
        self._joints = transport.subscribe(config.joint_states, JointState)
        self._pose = transport.subscribe(config.pose, PoseStamped) if self._cartesian else None
        self._wrench = transport.subscribe(config.wrench, WrenchStamped) if config.wrench else None
        self.topics = [inbox.topic for inbox in (self._joints, self._pose, self._wrench) if inbox is not None]
        """What it listens to."""
        self._used: Received[JointState] | None = None
        self._order = np.zeros(len(config.joints), dtype=np.int64)
        self._past: tuple[float, np.ndarray] | None = None
        self._speed = np.full(len(config.joints), 0.0)
        self.missing = "nothing received yet"
        """Why `read` has no answer, in words; empty when it has one."""

    @property
    def newest(self) -> Received[JointState] | None:
        """The joint message in use."""
        return self._used

    def read(self) -> Sensed | None:
        """The newest complete state, or None while a topic has brought nothing usable."""
        self._take_joints()
        if self._used is None:
            return None
        pose = self._pose.latest() if self._pose else None
        wrench = self._wrench.latest() if self._wrench else None
        for inbox, received in ((self._pose, pose), (self._wrench, wrench)):
            if inbox is not None and received is None:
                self.missing = f"no {inbox.kind.__name__} on /{inbox.topic} yet"
                return None
        if pose is not None and pose.message.header.frame_id.lstrip("/") != self._config.frame:
            self.missing = (
                f"/{self._config.pose} is in frame '{pose.message.header.frame_id}', expected '{self._config.frame}'"
            )
            return None
        self.missing = ""
        joints = np.asarray(self._used.message.position, dtype=np.float64)[self._order]
        axes = joints
        if pose is not None:
            axes = to_axes(pose.message.position, pose.message.orientation, self._config.tool_down)
        contact = np.zeros(6)
        if wrench is not None:
            contact = np.concatenate([wrench.message.force, wrench.message.torque])
        times = [received.time_s for received in (self._used, pose, wrench) if received is not None]
        return Sensed(axes, joints, self._speed, contact, min(times))

    def _take_joints(self) -> None:
        """Use the newest joint message that holds all joints: some drivers send the gripper's on the same topic."""
        received = self._joints.latest()
        if received is None:
            self.missing = f"no JointState on /{self._joints.topic} yet"
            return
        if self._used is not None and received.number == self._used.number:
            return
        message = received.message
        if self._used is None or message.name != self._used.message.name:
            absent = [name for name in self._config.joints if name not in message.name]
            if absent:
                if self._used is None:
                    self.missing = f"/{self._joints.topic} has no joint '{absent[0]}', only {', '.join(message.name)}"
                return
            self._order = np.array([message.name.index(name) for name in self._config.joints])
        if len(message.position) != len(message.name):
            self.missing = (
                f"/{self._joints.topic} names {len(message.name)} joints and has {len(message.position)} positions"
            )
            return
        self._used = received
        if len(message.velocity) == len(message.name):
            self._speed = np.asarray(message.velocity, dtype=np.float64)[self._order]
            return
        position = np.asarray(message.position, dtype=np.float64)[self._order]
        if self._past is None:
            self._past = (received.time_s, position)
        elif (passed := received.time_s - self._past[0]) >= SPEED_WINDOW:
            self._speed = (position - self._past[1]) / passed
            self._past = (received.time_s, position)

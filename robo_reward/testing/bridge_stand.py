"""A bridge in memory, stepped by hand and by a clock of its own."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from robo_reward.hardware.bridge import SLOTS, Bridge
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import (
    Bool,
    Float64MultiArray,
    Header,
    JointState,
    JointTrajectory,
    PoseStamped,
    TwistStamped,
    WrenchStamped,
)
from robo_reward.hardware.poses import from_axes, to_axes
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.hardware.slots import Slot, share
from robo_reward.hardware.transport import LATCHED
from robo_reward.safety.arm_gate import Mode
from robo_reward.safety.limits import Limits

CONFIG, LIMITS = load_robot("sim_arm")
HOME = np.array([0.5, 0.0, 0.12, 0.0, 0.0, 0.0])
JOINTS = np.array([0.0, 0.15, 0.0, -2.2, 0.0, 2.35, 0.785])


class Stand:
    """A bridge and an arm that is where it was told to be, stepped by hand."""

    def __init__(self, config: RobotConfig = CONFIG, limits: Limits = LIMITS) -> None:
        self.now, self.config, self.limits = 100.0, config, limits
        self.network = network = MemoryNetwork()
        arm, own = (MemoryTransport(network, lambda: self.now) for _ in range(2))
        self.joints = arm.advertise(config.joint_states, JointState)
        self.pose = arm.advertise(config.pose, PoseStamped)
        self.wrench = arm.advertise(config.wrench, WrenchStamped) if config.wrench else None
        self.stop = arm.advertise(config.stop, Bool, LATCHED)
        kind = {"target_pose": PoseStamped, "twist": TwistStamped, "joint_positions": Float64MultiArray}
        self.sent: Any = arm.subscribe(config.command_topic, kind.get(config.command, JointTrajectory))
        descriptor = os.memfd_create("test")
        self.slots = share(descriptor, SLOTS)
        self.policy, self.human, self.console, self.status = share(descriptor, SLOTS)
        os.close(descriptor)
        self.bridge = Bridge(config, limits, own, self.slots, lambda: self.now)
        self.at = HOME.copy()

    def arm_says(self, names: tuple[str, ...] | None = None, joints: np.ndarray = JOINTS, frame: str = "base") -> None:
        names = names or self.config.joints
        velocity = np.zeros(len(joints))
        self.joints(JointState(name=names, position=joints, velocity=velocity))
        self.pose(PoseStamped(Header(frame_id=frame), *from_axes(self.at, self.config.tool_down)))
        if self.wrench:
            self.wrench(WrenchStamped())

    def step(self, times: int = 1, **says: Any) -> np.ndarray:
        for _ in range(times):
            self.now += 1 / self.limits.rate_hz
            self.arm_says(**says)
            self.bridge.step()
            if (sent := self.sent.latest()) and isinstance(sent.message, PoseStamped):
                self.at = to_axes(sent.message.position, sent.message.orientation, self.config.tool_down)
        return self.told

    @property
    def told(self) -> np.ndarray:
        return self.status.read()[1]

    def ask(self, slot: Slot, action: list[float], engaged: bool = False) -> None:
        padded = np.zeros(16)
        padded[: len(action)] = action
        slot.write(time_s=self.now, engaged=engaged, size=len(action), action=padded)

    def order(self, order: str) -> str:
        self.console.write(order=order.encode())
        return bytes(self.step()["answer"]).decode()

    def armed(self) -> Stand:
        self.step()
        assert self.order("arm") == ""
        return self

    @property
    def mode(self) -> Mode:
        return Mode(int(self.told["mode"]))

    @property
    def reason(self) -> str:
        return bytes(self.told["reason"]).decode()

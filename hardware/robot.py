"""A robot as the actor sees it: observe, send an action, hear what was executed.

`Ros2Robot` starts the bridge process and talks to it through shared memory. Nothing in this process writes to the
arm, so whatever happens to it, the bridge holds.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

from robo_reward.hardware import bridge
from robo_reward.hardware.arm_state import ArmState
from robo_reward.hardware.cameras import DeviceCamera, open_camera
from robo_reward.hardware.images import CameraWatch
from robo_reward.hardware.messages import Image, JointState
from robo_reward.hardware.robot_config import RobotConfig, check_robot
from robo_reward.hardware.slots import Slot, share
from robo_reward.hardware.transport import Inbox, Transport
from robo_reward.safety.arm_gate import Mode, Sensed
from robo_reward.safety.limits import Limits

TOPIC_S = 10.0
"""Longest time that a topic may take to bring its first message."""
START_S = 60.0
"""Longest time that the bridge process may take to start, also on a machine at its limit."""
ORDER_S = 1.0
"""Longest time that the bridge may take to answer."""


class RobotFault(Exception):
    """The robot cannot go on: an episode ends here, truncated, and its last step is not stored."""


@dataclass(frozen=True)
class RobotObservation:
    """What is known of the robot at one moment."""

    sensed: Sensed
    setpoint: Float[np.ndarray, "N"]
    """Where the bridge is leading the arm; NaN before arming."""
    pixels: Mapping[str, UInt8[np.ndarray, "H W 3"]] = field(repr=False)
    age_s: float
    """Age of the oldest part, cameras excepted."""
    opening: float | None = None
    """Of the gripper, in its own unit; None where there is none."""


@dataclass(frozen=True)
class BridgeStatus:
    """The bridge's last word."""

    mode: Mode
    reason: str
    """Why it holds; empty while armed."""
    trips: int
    overruns: int
    human: bool
    """Whether a human's actions are the ones executed."""
    executed: Float[np.ndarray, "A"]
    setpoint: Float[np.ndarray, "N"]
    opening: float
    """What the gripper was sent last."""
    time_s: float
    since_s: float
    """When it was said, and when the mode last changed: local monotonic clock."""


class Robot(Protocol):
    """An arm. Actions lie in [-1, 1], one number for each driven axis."""

    def connect(self) -> None:
        """Come into contact and wait for a complete state; nothing moves. ValueError says what is missing."""

    def arm(self, unguarded: bool = False) -> None:
        """Let actions through. ValueError when the gate refuses."""

    def observe(self) -> RobotObservation:
        """The newest observation. RobotFault when a part is missing, old or not believable; the arm then holds."""

    def send(self, action: Float[np.ndarray, "A"]) -> Float[np.ndarray, "A"]:
        """Ask for one action; returns the executed one, which is what is stored. RobotFault when the arm holds."""

    def disarm(self, reason: str) -> None:
        """Send nothing until `arm`, so that something else may move the arm."""

    def stop(self, reason: str) -> None:
        """Emergency stop: `clear`, then `arm`, to go on."""

    def close(self) -> None:
        """Hold and leave. Does nothing the second time."""


class Ros2Robot:
    """A `Robot` over a transport and a bridge process."""

    def __init__(self, config: RobotConfig, limits: Limits) -> None:
        check_robot(config, limits)
        self.config, self.limits = config, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: Transport | None = None

    def connect(self, timeout_s: float = TOPIC_S) -> None:
        """Open the topics, wait until state and cameras are there, start the bridge.

        Raises:
            ValueError: what is missing, in one line.
        """
        if self._transport is not None:
            raise ValueError("this robot is connected already")
        self._transport = transport = bridge.open_transport(self.config)
        self._state = ArmState(self.config, transport)
        height, width = self.config.image_size
        gripper = self.config.gripper_state
        self._gripper = transport.subscribe(gripper, JointState) if gripper else None
        self._cameras: dict[str, tuple[Inbox[Image] | DeviceCamera, CameraWatch]] = {}
        try:
            for name, source in self.config.cameras.items():
                camera = open_camera(source, transport, self.config.camera_hz, (height, width))
                self._cameras[name] = camera, CameraWatch(name, self.config.camera_hz, (height, width))
            self._await(lambda: "" if self._state.read() is not None else self._silence(), timeout_s)
            for name, (inbox, watch) in self._cameras.items():
                if (received := inbox.wait(timeout_s=timeout_s)) is None:
                    where = inbox.topic if isinstance(inbox, DeviceCamera) else f"/{inbox.topic}"
                    raise ValueError(f"camera {name}: no Image on {where} (waited {timeout_s:g} s)")
                watch.look(received, received.time_s)
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Start the bridge process and wait until it sees the robot."""
        descriptor = os.memfd_create("robo_reward_bridge", os.MFD_CLOEXEC)
        self._policy, self._human, self._console, self._status = share(descriptor, bridge.SLOTS)
        self._errors = tempfile.TemporaryFile()
        command = bridge.arguments(self.config, self.limits, descriptor)
        self._process = subprocess.Popen(command, pass_fds=[descriptor], stderr=self._errors)
        os.close(descriptor)

        def silent() -> str:
            number, record = self._status.read()
            if not number:
                return self._died() or "the bridge process does not start"
            return "" if np.isfinite(record["age_s"]) else "the bridge process does not see the robot"

        self._await(silent, START_S)

    def arm(self, unguarded: bool = False) -> None:
        """Let actions through from here on; the first setpoint is the measured pose."""
        self._order("arm_unguarded" if unguarded else "arm")

    def observe(self) -> RobotObservation:
        """The newest state and pictures; holds and raises RobotFault when one cannot be believed."""
        sensed, now = self._state.read(), time.monotonic()
        try:
            if sensed is None:
                raise ValueError(self._state.missing)
            if (age := now - sensed.time_s) > self.limits.state_timeout_s:
                raise ValueError(f"the robot's state is {age:.3f} s old, allowed are {self.limits.state_timeout_s} s")
            pixels = {name: watch.look(inbox.latest(), now) for name, (inbox, watch) in self._cameras.items()}
        except ValueError as error:
            self.hold(str(error))
            raise RobotFault(str(error)) from None
        status = self.status()
        return RobotObservation(sensed, status.setpoint, pixels, age, self._opening(status.opening))

    def _opening(self, sent: float) -> float | None:
        """The measured opening, or else the one that was sent."""
        if not self.config.gripper:
            return None
        received = self._gripper.latest() if self._gripper else None
        return float(received.message.position[0]) if received and len(received.message.position) else sent

    def send(self, action: Float[np.ndarray, "A"]) -> Float[np.ndarray, "A"]:
        """Hand the action to the bridge and wait, a few milliseconds, for what it makes of it."""
        number = self._write(self._policy, action)
        deadline = time.monotonic() + self.limits.action_timeout_s
        while self._status.read()[1]["action"] < number:
            if time.monotonic() > deadline:
                raise RobotFault(self._died() or "the bridge does not answer")
            time.sleep(0.0005)
        status = self.status()
        if status.mode is not Mode.ARMED:
            raise RobotFault(f"the arm holds: {status.reason}")
        return status.executed

    def take_over(self, action: Float[np.ndarray, "A"]) -> None:
        """A human's action, in place of the policy's until `release`; to be repeated while the dead-man is pressed."""
        self._write(self._human, action, engaged=True)

    def release(self) -> None:
        """The human lets go; the policy's next action counts."""
        self._human.write(time_s=time.monotonic())

    def hold(self, reason: str = "on request") -> None:
        """Come to rest; `arm` to go on."""
        self._order(f"hold {reason}")

    def disarm(self, reason: str = "on request") -> None:
        """Send nothing until `arm`: something else, such as the robot's own homing, may move it meanwhile."""
        self._order(f"disarm {reason}")

    def stop(self, reason: str = "on request") -> None:
        """Emergency stop. A software stop, not a safety-rated one."""
        self._order(f"stop {reason}")

    def clear(self) -> None:
        """End the emergency stop; nothing moves before `arm`."""
        self._order("clear")

    def status(self) -> BridgeStatus:
        """What the bridge said last."""
        _, record = self._status.read()
        axes = len(self.limits.step)
        return BridgeStatus(
            mode=Mode(int(record["mode"])),
            reason=bytes(record["reason"]).decode(errors="replace"),
            trips=int(record["trips"]),
            overruns=int(record["overruns"]),
            human=int(record["source"]) == bridge.HUMAN,
            executed=record["executed"][: int(record["size"])].copy(),
            setpoint=record["setpoint"][:axes].copy(),
            opening=float(record["opening"]),
            time_s=float(record["time_s"]),
            since_s=float(record["since_s"]),
        )

    def close(self) -> None:
        """Tell the bridge to hold and quit, and leave the wire."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._errors.close()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
            for camera, _ in self._cameras.values():
                if isinstance(camera, DeviceCamera):
                    camera.close()

    def _silence(self) -> str:
        """What the state still lacks, and what to do where nothing came."""
        lacking = self._state.missing
        if not lacking.endswith(" yet"):
            return lacking
        if self.config.simulated:
            return f"{lacking}: start the arm, python -m robo_reward.hardware.sim_arm"
        return f"{lacking}: does its driver run, on domain {self.config.domain}?"

    def _await(self, missing: Callable[[], str], timeout_s: float) -> None:
        """Until nothing is missing any more, or ValueError with what is."""
        deadline = time.monotonic() + timeout_s
        while lacking := missing():
            if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                raise ValueError(f"{lacking} (waited {timeout_s:g} s)")
            time.sleep(0.005)

    def _order(self, order: str) -> None:
        """Give the bridge an order and wait for its answer; ValueError when it refuses."""
        number = self._console.write(order=order.encode()[: bridge.TEXT])
        deadline = time.monotonic() + ORDER_S
        while (record := self._status.read()[1])["order"] < number:
            if time.monotonic() > deadline:
                raise RobotFault(self._died() or "the bridge does not answer")
            time.sleep(0.0005)
        if record["answer"]:
            raise ValueError(bytes(record["answer"]).decode(errors="replace"))

    def _write(self, slot: Slot, action: np.ndarray, engaged: bool = False) -> int:
        """Hand an action over as it is: judging it is the gate's business."""
        values = np.asarray(action, dtype=np.float64)
        size = values.size if values.ndim == 1 else 0
        padded = np.zeros(bridge.WIDEST)
        padded[: min(size, bridge.WIDEST)] = values.reshape(-1)[: min(size, bridge.WIDEST)]
        return slot.write(time_s=time.monotonic(), engaged=engaged, size=size, action=padded)

    def _died(self) -> str:
        """The last line of a bridge process that has ended; empty while it runs."""
        if self._process is None:
            return "the robot is not connected"
        if self._process.poll() is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the bridge process ended with code {self._process.returncode}"

"""What a robot's environment needs besides the arm: where the things are, whether the task is done, a new scene.

For the simulated arm that comes from topics of its own; for a real one from perception, from a topic that judges or
from a person at the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.keyboard import keyboard, newest_key
from robo_reward.hardware.messages import Float64MultiArray, String
from robo_reward.hardware.operate import follow, read_poses
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import RobotConfig
from robo_reward.hardware.transport import LATCHED, Inbox
from robo_reward.types import UNKNOWN_STAGE

RESET_S = 20.0


class Task(Protocol):
    """What the environment needs to know besides the arm."""

    def reset(self, seed: int, options: dict[str, Any]) -> str:
        """Make the scene ready while the bridge is silent; returns the instruction."""

    def estimate(self) -> np.ndarray:
        """Estimated object poses, float32 (E,)."""

    def judge(self) -> tuple[int, float | None, bool]:
        """Stages reached, progress in [0, 1] where somebody knows it, success."""

    def close(self) -> None:
        """Leave."""


class SimArmTask:
    """The task of the simulated arm, by its topics."""

    def __init__(self, config: RobotConfig) -> None:
        self._transport = open_transport(config)
        self._ask = self._transport.advertise("sim_arm/reset", String, LATCHED)
        self._ready = self._transport.subscribe("sim_arm/ready", String, LATCHED)
        self._estimate = self._transport.subscribe("sim_arm/estimate", Float64MultiArray)
        self._judge = self._transport.subscribe("sim_arm/judge", Float64MultiArray)
        self._number = 0
        if not all(inbox.wait(timeout_s=RESET_S) for inbox in (self._estimate, self._judge)):
            self.close()
            raise ValueError(f"no estimates on /{self._estimate.topic}: is this the simulated arm?")

    def reset(self, seed: int, options: dict[str, Any]) -> str:
        """Ask for a new scene and wait until it is there; RobotFault when the arm does not answer."""
        self._number = max(self._number + 1, time.monotonic_ns())  # unlike any that another client asked for
        self._ask(String(data=json.dumps({"seed": seed, "reset": self._number, **options})))
        deadline, seen = time.monotonic() + RESET_S, 0
        while (left := deadline - time.monotonic()) > 0 and (received := self._ready.wait(seen, left)) is not None:
            seen, ready = received.number, json.loads(received.message.data)
            if ready["reset"] == self._number:
                for inbox in (self._estimate, self._judge):
                    latest = inbox.latest()
                    if inbox.wait(latest.number if latest else 0, left) is None:
                        break
                return str(ready["instruction"])
        raise RobotFault(f"the simulated arm was not reset within {RESET_S:g} s")

    def estimate(self) -> np.ndarray:
        """The newest estimate."""
        return newest(self._estimate).astype(np.float32)

    def judge(self) -> tuple[int, float | None, bool]:
        """The newest judgement."""
        stage, progress, success = newest(self._judge)
        return int(stage), float(progress), bool(success)

    def close(self) -> None:
        """Leave the wire."""
        self._transport.close()


class OperatorTask:
    """The task of a real arm: led back by recording and home, the scene set up and judged by a person or by topics."""

    def __init__(
        self,
        robot: Ros2Robot,
        unguarded: bool = False,
        key: Callable[[float], str] | None = None,
        heed: Callable[[], None] | None = None,
    ) -> None:
        """Open the topics that the robot's file names, and the terminal.

        Args:
            robot: connected.
            unguarded: arm a controller without a command time-out of its own.
            key: waits so many seconds at most and returns the key that was pressed, or an empty text; None reads the
                terminal.
            heed: called before every action while the arm is led back, to stop it and raise RobotFault where somebody
                asks for that; None heeds the space bar.

        Raises:
            ValueError: a person is asked and there is no terminal, a topic brings nothing, or `path` is no recording.
        """
        self._robot, self._unguarded, self._owned = robot, unguarded, ExitStack()
        config, size = robot.config, len(robot.limits.step)
        self._poses = read_poses(Path(config.path), size) if config.path else np.zeros((0, size))
        if config.home:
            self._poses = np.concatenate([self._poses, [config.home]])
        self._key = key or (lambda seconds: "")
        self._heed = heed or self._heed_space
        self.waiting: Callable[[], None] = lambda: None
        """Called again and again while the operator sets the scene up."""
        with ExitStack() as stack:
            transport = open_transport(config)
            stack.callback(transport.close)
            self._estimate = transport.subscribe(config.estimate, Float64MultiArray) if config.estimate else None
            self._judge = transport.subscribe(config.judge, Float64MultiArray) if config.judge else None
            for inbox in (self._estimate, self._judge):
                if inbox is not None and inbox.wait(timeout_s=RESET_S) is None:
                    raise ValueError(f"no Float64MultiArray on /{inbox.topic} (waited {RESET_S:g} s)")
            if key is None and (config.ask or not config.judge):
                if not sys.stdin.isatty():
                    raise ValueError(
                        "the operator is asked: run it in a terminal, or set robot.judge and robot.ask=false"
                    )
                keys = stack.enter_context(keyboard(urgent=" x\n\r"))
                self._key = lambda seconds: newest_key(keys(seconds))
            self._owned = stack.pop_all()

    def reset(self, seed: int, options: dict[str, Any]) -> str:
        """Lead the arm back, then ask for the scene; RobotFault when a pose is not reached."""
        config, limits = self._robot.config, self._robot.limits
        if len(self._poses):
            self._robot.arm(self._unguarded)
            follow(self._robot, self._poses, config.axes, limits, heed=self._heed)
            self._robot.disarm("led back")
        if config.ask:
            print(f"\n{config.instruction or 'next episode'}: set the scene up, then press Enter (x leaves).")
            print("During the episode s says that the task is done, the space bar stops the arm.", flush=True)
            while (pressed := self._key(0.2)) not in ("\n", "\r"):
                if pressed == "x":
                    raise KeyboardInterrupt
                self.waiting()
        return config.instruction

    def estimate(self) -> np.ndarray:
        """The newest estimate; none where nobody estimates."""
        return np.zeros(0, np.float32) if self._estimate is None else newest(self._estimate).astype(np.float32)

    def judge(self) -> tuple[int, float | None, bool]:
        """The topic's judgement (stage, progress, success), or the operator's key."""
        pressed = self._key(0.001)
        if pressed == " ":
            self._robot.stop("space bar")
        if self._judge is not None:
            stage, progress, success = newest(self._judge)
            return int(stage), float(progress), bool(success)
        return UNKNOWN_STAGE, None, pressed == "s"

    def _heed_space(self) -> None:
        if self._key(0.0) == " ":
            self._robot.stop("space bar")
            raise RobotFault("stopped on its way")

    def close(self) -> None:
        """Leave the wire and the terminal."""
        self._owned.close()


def newest(inbox: Inbox[Float64MultiArray]) -> np.ndarray:
    """The newest numbers of a topic; RobotFault when none came yet."""
    received = inbox.latest()
    if received is None:
        raise RobotFault(f"nothing on /{inbox.topic} yet")
    return np.asarray(received.message.data)

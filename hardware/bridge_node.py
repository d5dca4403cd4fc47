"""The bridge as a node for others: whatever publishes actions drives the robot, through gate and watchdog.

    python -m robo_reward.hardware.bridge_node robot=franka [domain=0] [unguarded=true]

`robo_reward/action` takes an action in [-1, 1] a policy period, `robo_reward/executed` answers with what was executed,
`robo_reward/status` tells how the bridge is, in JSON. `robo_reward/enable` (Bool) arms and disarms, `robo_reward/stop`
and `robo_reward/home` (true) stop and lead home. Over rclpy the three are services of std_srvs too.

A stop calls off every order that was given before it, `enable` (false) the way home. Orders to move count only while
the node runs: an old one that is still on the wire starts nothing.
"""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.messages import Bool, Float64MultiArray, String
from robo_reward.hardware.operate import follow
from robo_reward.hardware.rclpy_transport import RclpyTransport
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.transport import COMMAND, LATCHED, Transport
from robo_reward.settings import unknown

NAME = "robo_reward"
CYCLE_S = 0.01
ANSWER_S = 1.0
ORDERS = {"enable": "SetBool", "stop": "Trigger", "home": "Trigger"}
"""What is ordered, and the type of its service in std_srvs."""


class BridgeNode:
    """A connected robot and the topics by which others drive it. Orders are carried out in the thread that steps, but a
    stop goes to the bridge process at once, by the robot's own stop topic.

    Arguments:
        robot: connected.
        transport: where the topics are.
        unguarded: whether a controller without a command time-out may be armed.
        leaving: whether the node is about to end, which calls off the way home.
    """

    def __init__(
        self, robot: Ros2Robot, transport: Transport, unguarded: bool = False,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._robot, self._unguarded, self._leaving = robot, unguarded, leaving
        self._orders: queue.Queue[tuple[str, int, Future[str]]] = queue.Queue()
        """Each with the number that `_called_off` had when it was given."""
        self._called_off, self._stops = 0, 0
        """Count what calls off the orders before it, stops and `enable` (false), and the stops among them."""
        self._homing = False
        self._free_s = -np.inf
        """When the last order was done: an action from before that was not meant for what comes after it."""
        self._action = transport.subscribe(f"{NAME}/action", Float64MultiArray, COMMAND)
        self._publish_executed = transport.advertise(f"{NAME}/executed", Float64MultiArray)
        self._publish_status = transport.advertise(f"{NAME}/status", String, LATCHED)
        self._publish_stop = transport.advertise(robot.config.stop, Bool, LATCHED)
        self._taken, self._told, self._refused = 0, "", ""
        for order in ORDERS:
            qos = LATCHED if order == "stop" else COMMAND
            transport.subscribe(f"{NAME}/{order}", Bool, replace(qos, depth=16), heard=partial(self._hear, order))
        if isinstance(transport, RclpyTransport):
            for order, kind in ORDERS.items():
                transport.serve(f"{NAME}/{order}", kind, partial(self._answer, order))

    def step(self) -> None:
        """Carry out what was ordered, hand on the newest action, tell how the bridge is."""
        while not self._orders.empty():
            order, number, done = self._orders.get()
            self._refused = self._tried(partial(self._carry_out, order, number))
            self._free_s = time.monotonic()
            done.set_result(self._refused)
        received = self._action.latest()
        if received is not None and received.number != self._taken:
            self._taken = received.number
            self._refused = self._tried(partial(self._drive, received.message.data, received.time_s))
        status = self._robot.status()
        said = {"mode": status.mode.name.lower(), "reason": status.reason, "trips": status.trips}
        text = json.dumps(said | {"refused": self._refused})
        if text != self._told:
            self._told = text
            self._publish_status(String(data=text))

    def _drive(self, action: np.ndarray, asked_s: float) -> None:
        age, limit = time.monotonic() - asked_s, self._robot.limits.action_timeout_s
        if age > limit:
            raise ValueError(f"an action of {age:.3f} s ago, allowed are {limit} s")
        if asked_s < self._free_s:
            raise ValueError("an action from before the last order was done")
        executed = self._robot.send(np.asarray(action, np.float64))
        self._publish_executed(Float64MultiArray(data=np.asarray(executed, np.float64)))

    def _carry_out(self, order: str, number: int) -> None:
        stops = self._stops
        if order != "disable" and number != self._called_off:
            raise ValueError(f"{order} was called off before it began")
        if order == "enable":
            self._publish_stop(Bool(data=False))
            self._robot.clear()
            self._robot.arm(self._unguarded)
            if stops != self._stops:  # it came in between, and may have been undone
                self._publish_stop(Bool(data=True))
        elif order == "disable":
            self._robot.disarm(f"/{NAME}/enable")
        else:
            config, limits = self._robot.config, self._robot.limits
            if not config.home:
                raise ValueError("this robot's file has no home")
            self._homing = True
            try:
                follow(self._robot, np.array([config.home]), config.axes, limits, heed=partial(self._heed, number))
            finally:
                self._homing = False

    def _heed(self, number: int) -> None:
        if number != self._called_off or self._leaving():
            self._robot.hold("called off on the way home")
            raise RobotFault("called off on the way home")

    def _tried(self, attempt: Callable[[], None]) -> str:
        """Why it was refused; empty when it was done."""
        try:
            attempt()
        except (RobotFault, ValueError) as error:
            return str(error)
        return ""

    def _hear(self, order: str, message: Bool) -> None:
        if message.data or order == "enable":
            self._order(order, message.data)

    def _answer(self, order: str, request: Any) -> str:
        """Homing takes long, and no stop is heard while a service waits: nothing waits for it."""
        value = bool(getattr(request, "data", True))
        done = self._order(order, value)
        if order == "home":
            return ""
        if self._homing and value and order != "stop":
            return "the robot is on its way home"
        try:
            return done.result(timeout=ANSWER_S)
        except FutureTimeoutError:  # before Python 3.11 not the built-in one
            return "the bridge does not answer"

    def _order(self, order: str, value: bool) -> Future[str]:
        """In the transport's thread."""
        done: Future[str] = Future()
        if order == "stop":
            self._called_off += 1
            self._stops += 1
            self._publish_stop(Bool(data=True))
            done.set_result("")
        else:
            self._called_off += not value
            self._orders.put((order if value else "disable", self._called_off, done))
        return done


def main(words: list[str] | None = None) -> None:
    """The words `robot=`, `domain=` and `unguarded=`; what follows `--ros-args` is ROS's. Exit code 2 on a mistake."""
    words = list(sys.argv[1:] if words is None else words)
    words = words[: words.index("--ros-args")] if "--ros-args" in words else words
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        values = {}
        for word in words:
            key, _, value = word.partition("=")
            if key not in ("robot", "domain", "unguarded"):
                raise ValueError(unknown("setting", key, ("robot", "domain", "unguarded")))
            values[key] = value
        config, limits = load_robot(values.get("robot", ""))
        config = replace(config, cameras={}, domain=int(values.get("domain", config.domain)))
        transport = open_transport(config)
        robot = Ros2Robot(config, limits)
        try:
            robot.connect()
            node = BridgeNode(robot, transport, values.get("unguarded") == "true", stop.is_set)
            while not stop.wait(CYCLE_S):
                node.step()
        finally:
            robot.close()
            transport.close()
    except (ValueError, ModuleNotFoundError, RobotFault) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()

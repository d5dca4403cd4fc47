"""Topics over a sourced ROS 2 installation, whichever middleware it uses.

Messages travel as bytes here too (raw subscriptions), so that ROS's own conversion to Python objects is never paid.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from typing import Any

from robo_reward.hardware.messages import Message
from robo_reward.hardware.transport import Qos, Send, Transport


class RclpyTransport(Transport):
    """A ROS 2 node. One thread runs its executor, whose callbacks only fill the inboxes."""

    def __init__(self, domain: int = 0, name: str = "robo_reward", network: bool = False) -> None:
        """Start the node.

        Args:
            domain: 0 to 101, ROS_DOMAIN_ID.
            name: the node's name.
            network: whether other machines may take part. Without a security setup of ROS's own, whoever reaches the
                network can then move the robot.

        Raises:
            ValueError: rclpy cannot be imported here.
        """
        super().__init__()
        try:
            rclpy, self._qos = importlib.import_module("rclpy"), importlib.import_module("rclpy.qos")
            executors = importlib.import_module("rclpy.executors")
        except ImportError as error:
            raise ValueError(
                f"rclpy cannot be imported ({error}): source a ROS 2 installation of this Python's version, "
                "or write `transport: dds` in the robot's file"
            ) from None
        if not network:  # read when the context starts: Humble's variable, and that of later distributions
            os.environ["ROS_LOCALHOST_ONLY"], os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "1", "LOCALHOST"
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node(name, context=self._context, start_parameter_services=False)
        self._executor = executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._writers: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._spin, name="rclpy", daemon=True)
        self._thread.start()

    def serve(self, name: str, kind: str, answer: Callable[[Any], str]) -> None:
        """A service of a type of std_srvs.

        Args:
            name: where.
            kind: Trigger or SetBool.
            answer: called with the request in the transport's thread, so it must not wait long; returns an empty text
                when it was done, else why not.
        """

        def call(request: Any, response: Any) -> Any:
            response.message = answer(request)
            response.success = not response.message
            return response

        self._node.create_service(getattr(importlib.import_module("std_srvs.srv"), kind), f"/{name}", call)
        self._executor.wake()

    def _open_writer(self, topic: str, kind: type[Message], qos: Qos) -> Send:
        writer = self._node.create_publisher(_ros_type(kind), f"/{topic}", self._profile(qos, offer=True))
        self._writers[topic] = writer
        return lambda data: writer.publish(bytes(data))

    def _open_reader(self, topic: str, kind: type[Message], qos: Qos, deliver: Callable[[bytes], None]) -> None:
        profile = self._profile(qos, offer=False)
        self._node.create_subscription(_ros_type(kind), f"/{topic}", deliver, profile, raw=True)
        self._executor.wake()

    def _profile(self, qos: Qos, offer: bool) -> Any:
        names = self._qos
        profile = names.QoSProfile(
            depth=qos.depth,
            reliability=names.ReliabilityPolicy.RELIABLE if qos.reliable else names.ReliabilityPolicy.BEST_EFFORT,
            durability=names.DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else names.DurabilityPolicy.VOLATILE,
        )
        if offer and qos.deadline_s is not None:
            profile.deadline = importlib.import_module("rclpy.duration").Duration(seconds=qos.deadline_s)
        return profile

    def _spin(self) -> None:
        while not self._closed:
            self._executor.spin_once(timeout_sec=0.1)

    def _peers(self, topic: str) -> int:
        own_writer, own_reader = topic in self._writers, topic in self._inboxes
        peers = self._writers[topic].get_subscription_count() - own_reader if own_writer else 0
        # Humble cannot say how many publishers match, so those that do not are counted too.
        return peers + (self._node.count_publishers(f"/{topic}") - own_writer if own_reader else 0)

    def _close(self) -> None:
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


def _ros_type(kind: type[Message]) -> Any:
    """ROS's own class of a message, or ValueError naming the package that lacks."""
    package, _, name = kind.ros.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError:
        hint = f"install the ROS package {package.replace('_', '-')}, or write `transport: dds` in the robot's file"
        raise ValueError(f"{kind.ros}: {hint}") from None

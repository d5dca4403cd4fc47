"""The part of rclpy that the transport uses, as a double: raw bytes over the memory network, delivered when spun."""

from __future__ import annotations

import queue
import sys
import types
from collections.abc import Callable
from enum import Enum
from typing import Any

from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import MESSAGES
from robo_reward.hardware.transport import Qos


def install_rclpy_double(monkeypatch: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """Put the double and ROS's message packages in front of whatever is installed, until the test is over.

    Returns:
        Services by name, which a test calls with a request and an empty response.
    """
    network = MemoryNetwork()
    services: dict[str, Callable[[Any, Any], Any]] = {}

    class ReliabilityPolicy(Enum):
        RELIABLE, BEST_EFFORT = range(2)

    class DurabilityPolicy(Enum):
        TRANSIENT_LOCAL, VOLATILE = range(2)

    class QoSProfile:
        def __init__(self, depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> None:
            self.depth, self.deadline = depth, None
            self.plain = Qos(
                reliability is ReliabilityPolicy.RELIABLE, durability is DurabilityPolicy.TRANSIENT_LOCAL, depth
            )

    class Context:
        def try_shutdown(self) -> None: ...

    class Publisher:
        def __init__(self, wire: MemoryTransport, kind: type, topic: str, qos: Qos) -> None:
            self.send, self.topic = wire._open_writer(topic, MESSAGES[kind.__name__], qos), topic
            self.own = network.writers[topic][-1]

        def publish(self, data: bytes) -> None:
            assert type(data) is bytes, "rclpy takes bytes or its own messages"
            self.send(bytearray(data))

        def get_subscription_count(self) -> int:
            return sum(reader.hears(self.own) for reader in network.readers.get(self.topic, []))

    class Node:
        def __init__(self) -> None:
            self.wire = MemoryTransport(network)
            self.arrived: queue.Queue[tuple[Callable[[bytes], None], bytes]] = queue.Queue()

        def create_publisher(self, kind: type, topic: str, profile: QoSProfile) -> Publisher:
            return Publisher(self.wire, kind, topic, profile.plain)

        def create_subscription(self, kind: type, topic: str, call: Any, profile: QoSProfile, *, raw: bool) -> None:
            assert raw and profile.deadline is None, "a requested deadline matches no ordinary publisher"
            keep = lambda data: self.arrived.put((call, data))  # noqa: E731
            self.wire._open_reader(topic, MESSAGES[kind.__name__], profile.plain, keep)

        def create_service(self, kind: type, name: str, call: Callable[[Any, Any], Any]) -> None:
            services[name] = call

        def count_publishers(self, topic: str) -> int:
            return len(network.writers.get(topic, []))

        def destroy_node(self) -> None:
            self.wire.close()

    class Executor:
        def __init__(self, context: Context) -> None: ...

        def add_node(self, node: Node) -> None:
            self.node = node

        def wake(self) -> None: ...

        def spin_once(self, timeout_sec: float) -> None:
            try:
                call, data = self.node.arrived.get(timeout=timeout_sec)
            except queue.Empty:
                return
            call(data)

        def shutdown(self) -> None: ...

    def module(name: str, **members: Any) -> None:
        made = types.ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)

    module(
        "rclpy", Context=Context, init=lambda *, context, domain_id: None,
        create_node=lambda name, *, context, start_parameter_services: Node(),
    )  # fmt: skip
    module("rclpy.qos", QoSProfile=QoSProfile, ReliabilityPolicy=ReliabilityPolicy, DurabilityPolicy=DurabilityPolicy)
    module("rclpy.executors", SingleThreadedExecutor=Executor)
    module("rclpy.duration", Duration=lambda *, seconds: seconds)
    packages: dict[str, dict[str, type]] = {}
    for kind in MESSAGES.values():
        package, _, name = kind.ros.split("/")
        packages.setdefault(package, {})[name] = type(name, (), {})
    for package, members in packages.items():
        module(f"{package}.msg", **members)
    module("std_srvs.srv", Trigger=type("Trigger", (), {}), SetBool=type("SetBool", (), {}))
    return services

"""Messages through ROS's own types: a plain rclpy node reads each and says it again. Runs where ROS 2 is sourced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from robo_reward.hardware.cdr import encode
from robo_reward.hardware.messages import MESSAGES, NUMBERS, Message
from robo_reward.hardware.rclpy_transport import RclpyTransport
from robo_reward.hardware.transport import COMMAND, Transport

pytestmark = pytest.mark.ros2
DOMAIN = 1 + (os.getpid() + 50) % 100
CYCLONE = "rmw_cyclonedds_cpp"
TOP = [name for name in MESSAGES if name not in ("Header", "JointTrajectoryPoint", "MultiArrayDimension")]

ECHO = """
import importlib, sys
import rclpy
from rclpy.qos import QoSProfile
rclpy.init(domain_id=int(sys.argv[1]))
node, profile, there = rclpy.create_node("echo"), QoSProfile(depth=5), []
for ros in sys.argv[2:]:
    package, _, name = ros.split("/")
    try:
        kind = getattr(importlib.import_module(package + ".msg"), name)
    except ImportError:
        continue
    there.append(name)
    say = node.create_publisher(kind, "/typed/out/" + name, profile)
    node.create_subscription(kind, "/typed/in/" + name, say.publish, profile)
print(" ".join(there), flush=True)
rclpy.spin(node)
"""


def example(kind: str, rng: np.random.Generator) -> Any:
    """A value of a wire type in which nothing is zero, empty or equal to its neighbour."""
    base, _, count = kind.partition("[")
    size = int(count[:-1]) if count not in ("", "]") else 3 if count else 1
    if base in MESSAGES:
        made: Any = tuple(message(MESSAGES[base], rng) for _ in range(size))
    elif base in ("string", "bool"):
        made = tuple(f"joint {rng.integers(1, 99)}" if base == "string" else True for _ in range(size))
    else:
        made = rng.integers(1, 100, size).astype(NUMBERS[base])
    return made if count else made[0].item() if base in NUMBERS else made[0]


def message(kind: type[Message], rng: np.random.Generator) -> Message:
    return kind(**{field.name: example(field.metadata["wire"], rng) for field in fields(kind)})


def test_an_example_has_something_in_every_field():
    """Here too, where there is no ROS: what is sent there must not be trivial."""
    for name in TOP:
        made = message(MESSAGES[name], np.random.default_rng(0))
        plain = np.frombuffer(bytes(encode(made))[4:], np.uint8)
        assert plain.any() and len(encode(made)) >= len(encode(MESSAGES[name]())), name


@pytest.fixture(scope="module")
def echo() -> Iterator[set[str]]:
    """The plain node; the names of the messages that this installation has."""
    if not find_spec("rclpy"):
        pytest.skip("no ROS 2 installation is sourced")
    kinds = [MESSAGES[name].ros for name in TOP]
    command = [sys.executable, "-c", ECHO, str(DOMAIN), *kinds]
    # Humble's word for the loopback, and that of later distributions.
    env = os.environ | {"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        yield set(process.stdout.readline().split())
        process.kill()


@pytest.fixture(params=["rclpy", "dds"])
def ours(request, echo) -> Iterator[Transport]:
    transport: Transport
    if request.param == "rclpy":
        transport = RclpyTransport(DOMAIN, "ours")
    else:
        pytest.importorskip("cyclonedds")
        if os.environ.get("RMW_IMPLEMENTATION") != CYCLONE:
            pytest.skip(f"set RMW_IMPLEMENTATION={CYCLONE}: others do not meet DDS on the loopback")
        from robo_reward.hardware.dds_transport import DdsTransport

        transport = DdsTransport(DOMAIN)
    yield transport
    transport.close()


def test_ros_understands_what_we_say_and_we_what_it_says(ours, echo):
    rng = np.random.default_rng(0)
    ends = {
        name: (ours.advertise(f"typed/in/{name}", MESSAGES[name]),
               ours.subscribe(f"typed/out/{name}", MESSAGES[name], COMMAND))
        for name in TOP if name in echo
    }  # fmt: skip
    assert len(ends) >= 10, "std_msgs, sensor_msgs and geometry_msgs are in every installation"
    for name, (publish, inbox) in ends.items():
        sent = message(MESSAGES[name], rng)
        deadline, received = time.monotonic() + 20, None
        while received is None:
            assert time.monotonic() < deadline, f"{name} did not come back"
            publish(sent)
            received = inbox.wait(timeout_s=0.2)
        assert bytes(encode(received.message)) == bytes(encode(sent)), name

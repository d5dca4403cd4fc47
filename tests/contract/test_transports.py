"""What every transport promises: the same tests for memory, DDS, rclpy's double and, where ROS is sourced, rclpy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import pytest

from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import MESSAGES, Bool, Image, JointState, Message, String
from robo_reward.hardware.rclpy_transport import RclpyTransport
from robo_reward.hardware.transport import COMMAND, LATCHED, SENSOR, Inbox, Qos, Transport
from robo_reward.testing.rclpy_double import install_rclpy_double

DOMAIN = 1 + os.getpid() % 100
"""One per test process, so that two test runs on one machine do not hear each other."""
ENDS = {
    "memory": ("memory",),
    "dds": ("dds",),
    "rclpy-double": ("double",),
    "rclpy": ("rclpy",),
    "dds to rclpy": ("dds", "rclpy"),
    "rclpy to dds": ("rclpy", "dds"),
}
"""What the first node of a test is, the second, and so on in turn."""
KINDS = [
    pytest.param(ends, id=name, marks=[pytest.mark.ros2] if "rclpy" in ends else []) for name, ends in ENDS.items()
]
CYCLONE = "rmw_cyclonedds_cpp"
JOINTS = JointState(name=("a", "b"), position=np.array([0.25, -1.5]))


@pytest.fixture(params=KINDS)
def node(request, monkeypatch) -> Iterator[Callable[[], Transport]]:
    """A function that makes nodes which hear each other."""
    nodes: list[Transport] = []
    network = MemoryNetwork()
    if "rclpy" in request.param and not find_spec("rclpy"):
        pytest.skip("no ROS 2 installation is sourced")
    if "dds" in request.param:
        pytest.importorskip("cyclonedds")
    if len(request.param) > 1 and os.environ.get("RMW_IMPLEMENTATION") != CYCLONE:
        pytest.skip(f"set RMW_IMPLEMENTATION={CYCLONE}: others do not meet DDS on the loopback")
    if "double" in request.param:
        install_rclpy_double(monkeypatch)

    def make() -> Transport:
        kind = request.param[len(nodes) % len(request.param)]
        if kind == "memory":
            nodes.append(MemoryTransport(network))
        elif kind == "dds":
            from robo_reward.hardware.dds_transport import DdsTransport

            nodes.append(DdsTransport(DOMAIN))
        else:
            nodes.append(RclpyTransport(DOMAIN, f"node{len(nodes)}"))
        return nodes[-1]

    yield make
    for made in nodes:
        made.close()


def connected(transport: Transport, topic: str, peers: int = 1, seconds: float = 5) -> None:
    """Wait until the topic has that many peers."""
    deadline = time.monotonic() + seconds
    while (found := transport.stats()[topic].peers) != peers:
        assert time.monotonic() < deadline, f"{found} peers on {topic}, expected {peers}"
        time.sleep(0.002)


def pair(node, kind: type[Message], offered: Qos = COMMAND, wanted: Qos = SENSOR) -> tuple[Callable, Inbox]:
    a, b = node(), node()
    publish, inbox = a.advertise("arm/topic", kind, offered), b.subscribe("/arm/topic", kind, wanted)
    connected(a, "arm/topic")
    connected(b, "arm/topic")
    return publish, inbox


def test_a_message_arrives_whole(node):
    publish, inbox = pair(node, JointState)
    assert inbox.latest() is None
    before = time.monotonic()
    publish(JOINTS)
    received = inbox.wait(timeout_s=5)
    assert received and received.number == 1 and before <= received.time_s <= time.monotonic()
    assert received.message.name == ("a", "b")
    np.testing.assert_array_equal(received.message.position, [0.25, -1.5])


def test_an_image_arrives_whole(node):
    pixels = np.random.default_rng(0).integers(0, 256, 480 * 640 * 3, dtype=np.uint8)
    publish, inbox = pair(node, Image, COMMAND, COMMAND)
    publish(Image(height=480, width=640, encoding="rgb8", step=640 * 3, data=pixels))
    received = inbox.wait(timeout_s=5)
    assert received and (received.message.height, received.message.encoding) == (480, "rgb8")
    np.testing.assert_array_equal(received.message.data, pixels)


def test_only_the_newest_message_is_kept_and_they_are_counted(node):
    publish, inbox = pair(node, String, COMMAND, COMMAND)
    for index in range(20):
        publish(String(data=str(index)))
        assert inbox.wait(index, 5), f"message {index} did not arrive"
    received = inbox.latest()
    assert received and received.message.data == "19" and received.number == 20
    assert inbox.wait(20, 0.01) is None


def test_who_must_miss_nothing_hears_every_message(node):
    a, b, heard = node(), node(), []
    publish = a.advertise("topic", String, Qos(depth=20))
    b.subscribe("topic", String, Qos(depth=20), heard=lambda message: heard.append(message.data))
    connected(a, "topic")
    connected(b, "topic")
    for index in range(20):
        publish(String(data=str(index)))
    deadline = time.monotonic() + 5
    while len(heard) < 20 and time.monotonic() < deadline:
        time.sleep(0.002)
    assert heard == [str(index) for index in range(20)]


def test_a_sent_message_is_a_copy(node):
    publish, inbox = pair(node, JointState)
    position = np.array([1.0, 2.0])
    publish(JointState(position=position))
    position[:] = 9.0
    received = inbox.wait(timeout_s=5)
    assert received and received.message.position.tolist() == [1.0, 2.0]


def test_a_latched_message_reaches_who_comes_later(node):
    a = node()
    publish = a.advertise("stop", Bool, LATCHED)
    publish(Bool(data=True))
    received = node().subscribe("stop", Bool, LATCHED).wait(timeout_s=5)
    assert received and received.message.data is True


def test_an_ordinary_message_does_not_reach_who_comes_later(node):
    a, b = node(), node()
    publish = a.advertise("said", String, COMMAND)
    publish(String(data="before"))
    inbox = b.subscribe("said", String, COMMAND)
    connected(a, "said")
    connected(b, "said")
    publish(String(data="after"))
    received = inbox.wait(timeout_s=5)
    assert received and received.message.data == "after" and received.number == 1


@pytest.mark.parametrize("offered,wanted", [(SENSOR, COMMAND), (COMMAND, LATCHED)])
def test_a_subscriber_who_requests_more_than_is_offered_hears_nothing(node, offered, wanted):
    a, b, c = node(), node(), node()
    publish = a.advertise("topic", String, offered)
    deaf, witness = b.subscribe("topic", String, wanted), c.subscribe("topic", String, SENSOR)
    connected(c, "topic")
    connected(a, "topic")  # the witness alone
    for number in range(5):
        publish(String(data="x"))
        assert witness.wait(number, 5)
    assert deaf.latest() is None


def test_an_offered_deadline_keeps_nobody_from_listening(node):
    publish, inbox = pair(node, String, Qos(deadline_s=0.05), SENSOR)
    publish(String(data="x"))
    assert inbox.wait(timeout_s=5)


def test_another_type_on_the_same_topic_is_not_heard(node):
    a, b, c = node(), node(), node()
    publish = a.advertise("topic", String)
    other, witness = b.subscribe("topic", Bool), c.subscribe("topic", String)
    connected(c, "topic")
    publish(String(data="\x01"))
    assert witness.wait(timeout_s=5)
    assert other.latest() is None and other.malformed == 0


def test_bytes_that_are_no_message_are_counted_and_dropped(node):
    a, b = node(), node()
    raw = a._open_writer("joints", JointState, COMMAND)
    inbox = b.subscribe("joints", JointState, COMMAND)
    connected(b, "joints")
    deadline = time.monotonic() + 5
    while not inbox.malformed:  # until both sides know of each other
        raw(bytearray(b"\0\1\0\0\xff\xff\xff"))
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert inbox.latest() is None and b.stats()["joints"].malformed == inbox.malformed


def test_a_node_tells_what_it_sent_and_received(node):
    a, b = node(), node()
    publish, inbox = a.advertise("one", String), b.subscribe("one", String, COMMAND)
    b.subscribe("two", Bool)
    connected(a, "one")
    connected(b, "one")
    for index in range(3):
        publish(String(data="x"))
        assert inbox.wait(index, 5)
    assert a.stats()["one"].sent == 3 and b.stats()["one"].received == 3
    assert list(b.stats()) == ["one", "two"] and b.stats()["two"].peers == 0


def test_wrong_use_is_refused_in_one_line(node):
    transport = node()
    publish = transport.advertise("topic", String)
    for words, attempt in (
        ("carries std_msgs/msg/String, not Bool", lambda: publish(Bool())),
        ("already advertised", lambda: transport.advertise("/topic", String)),
        ("open as std_msgs/msg/String", lambda: transport.subscribe("topic", Bool)),
        ("already subscribed", lambda: [transport.subscribe("twice", Bool) for _ in range(2)]),
        ("letters, digits", lambda: transport.subscribe("two words", Bool)),
        ("letters, digits", lambda: transport.subscribe("a//b", Bool)),
    ):
        with pytest.raises(ValueError, match=words) as error:
            attempt()
        assert "\n" not in str(error.value)


def test_a_closed_node_is_silent_and_leaves_no_thread(node):
    before = set(threading.enumerate())
    a, b = node(), node()
    publish, inbox = a.advertise("topic", String), b.subscribe("topic", String)
    connected(a, "topic")
    connected(b, "topic")
    publish(String(data="x"))
    assert inbox.wait(timeout_s=5)
    a.close()
    a.close()
    with pytest.raises(RuntimeError, match="closed"):
        publish(String(data="y"))
    with pytest.raises(RuntimeError, match="closed"):
        a.subscribe("other", String)
    connected(b, "topic", peers=0)
    b.close()
    latest = inbox.latest()
    assert latest and latest.message.data == "x"
    assert {thread for thread in threading.enumerate() if thread.name.startswith(("dds", "rclpy"))} <= before


def test_every_message_travels(node):
    a, b = node(), node()
    ends = []
    for name, kind in MESSAGES.items():
        if name in ("Header", "JointTrajectoryPoint", "MultiArrayDimension"):
            continue
        topic = f"all/{name}"
        ends.append((kind, topic, a.advertise(topic, kind), b.subscribe(topic, kind, COMMAND)))
    for kind, topic, publish, inbox in ends:
        connected(a, topic)
        connected(b, topic)
        publish(kind())
        received = inbox.wait(timeout_s=5)
        assert received and type(received.message) is kind


# ------------------------------------------------------------------ what belongs to one transport only


def test_memory_takes_any_clock():
    now = [41.0]
    node = MemoryTransport(clock=lambda: now[0])
    publish, inbox = node.advertise("topic", String), node.subscribe("topic", String)
    now[0] = 42.5
    publish(String(data="x"))
    latest = inbox.latest()
    assert latest and latest.time_s == 42.5


def test_dds_stays_on_the_loopback_unless_an_interface_is_trusted_by_name():
    pytest.importorskip("cyclonedds")
    from robo_reward.hardware.dds_transport import DdsTransport, check_interface

    with pytest.raises(ValueError, match="DDS is unauthenticated.*write trusted_interface=eth0"):
        DdsTransport(DOMAIN, interface="eth0")
    with pytest.raises(ValueError, match="trusted_interface=0.0.0.0"):
        DdsTransport(DOMAIN, interface="0.0.0.0", trusted_interface="eth0")
    with pytest.raises(ValueError, match="address or a name"):
        DdsTransport(DOMAIN, interface='x"/>')
    with pytest.raises(ValueError, match="choose 0 to 101"):
        DdsTransport(102)
    assert check_interface("eth0", "eth0") == "eth0" and check_interface("lo", "") == "127.0.0.1"


def test_without_rclpy_one_line_says_what_to_do():
    if find_spec("rclpy"):
        pytest.skip("rclpy is here")
    with pytest.raises(ValueError, match="source a ROS 2 installation .* or write `transport: dds`"):
        RclpyTransport()


SUBSCRIBER = """
import sys, time
from robo_reward.hardware.dds_transport import DdsTransport
from robo_reward.hardware.messages import Image
from robo_reward.hardware.transport import COMMAND
inbox = DdsTransport(int(sys.argv[1])).subscribe("big", Image, COMMAND)
inbox.wait(timeout_s=60)
print("there", flush=True)
time.sleep(60)
"""


def test_a_stopped_subscriber_does_not_hold_up_the_dds_publisher():
    """A subscriber that acknowledges nothing any more, and images that fill every buffer."""
    pytest.importorskip("cyclonedds")
    from robo_reward.hardware.dds_transport import DdsTransport

    transport = DdsTransport(DOMAIN)
    publish = transport.advertise("big", Image, COMMAND)
    image = Image(height=480, width=640, encoding="rgb8", step=640 * 3, data=np.zeros(480 * 640 * 3, np.uint8))
    command = [sys.executable, "-c", SUBSCRIBER, str(DOMAIN)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            connected(transport, "big", seconds=30)
            publish(image)
            assert process.stdout and process.stdout.readline() == "there\n"
            process.send_signal(signal.SIGSTOP)
            for _ in range(20):
                publish(image)
        finally:
            process.kill()
            transport.close()

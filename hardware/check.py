"""Is this robot fit to be armed? Looks for a few seconds, writes nothing to the robot, says what is wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from robo_reward.hardware.arm_state import ArmState
from robo_reward.hardware.cameras import DEVICE, DeviceCamera, open_camera
from robo_reward.hardware.commands import COMMANDS
from robo_reward.hardware.images import rgb_of
from robo_reward.hardware.messages import Image
from robo_reward.hardware.robot_config import RobotConfig
from robo_reward.hardware.transport import Received, Transport
from robo_reward.safety.limits import Limits

STATE_HZ = 50.0
"""Slowest rate of the robot's state at which its time-out is kept safely."""
SKEW_S = 1.0
"""Difference of clocks above which controllers that look at stamps drop commands."""


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    good: bool
    found: str


def check(
    config: RobotConfig, limits: Limits, transport: Transport, seconds: float = 3.0, bridge: bool = False
) -> list[Finding]:
    """Look at a robot's topics for some seconds; `bridge` says whether a bridge runs, which is then the only writer."""
    findings: list[Finding] = []

    def report(what: str, good: bool, found: str) -> None:
        findings.append(Finding(what, good, found))

    state = ArmState(config, transport)
    size = (config.image_size[0], config.image_size[1])
    cameras = {name: open_camera(source, transport, config.camera_hz, size) for name, source in config.cameras.items()}
    rival = transport.subscribe(config.command_topic, COMMANDS[config.command][0])
    began = time.monotonic()
    time.sleep(seconds)
    passed, sensed, stats = time.monotonic() - began, state.read(), transport.stats()

    slowest = dict.fromkeys(state.topics, STATE_HZ) | dict.fromkeys(config.cameras.values(), config.camera_hz / 3)
    for topic, least in slowest.items():
        if topic.startswith(DEVICE):
            continue  # no topic; its pictures are looked at below
        counts = stats[topic.lstrip("/")]
        rate = counts.received / passed
        found = f"{rate:.0f} Hz, at least {least:.0f}" if counts.received else f"nothing, {counts.peers} publishers"
        found += f", {counts.malformed} messages that cannot be read" if counts.malformed else ""
        report(f"/{topic}", rate >= least and not counts.malformed, found)
    report("state", sensed is not None, state.missing or "complete: joints and frame as expected")
    if sensed is not None:
        age, allowed = time.monotonic() - sensed.time_s, limits.state_timeout_s
        report("age", age <= allowed, f"{age * 1e3:.0f} ms, allowed {allowed * 1e3:.0f}")
        low, high = limits.arrays["low"], limits.arrays["high"]
        inside = bool(np.all((sensed.pose >= low) & (sensed.pose <= high)))
        report("workspace", inside, f"{'inside' if inside else 'OUTSIDE'}, at {np.round(sensed.pose, 3).tolist()}")
        room = np.minimum(sensed.joints - np.array(limits.joint_low), np.array(limits.joint_high) - sensed.joints)
        nearest = int(np.argmin(room))
        report(
            "joints", bool(room[nearest] > 0), f"joint {nearest + 1} is nearest to its limit: {room[nearest]:.2f} rad"
        )
    for name, inbox in cameras.items():
        report(f"camera {name}", *_picture(inbox.latest(), config))
    newest: dict[str, Received[Any] | None] = {config.joint_states: state.newest}
    newest |= {inbox.topic: inbox.latest() for inbox in cameras.values()}
    for topic, received in newest.items():
        if received is not None and received.message.header.sec:
            skew = _skew(received)
            report(f"clock of /{topic}", abs(skew) < SKEW_S, f"{skew:+.3f} s behind ours")
    for camera in cameras.values():
        if isinstance(camera, DeviceCamera):
            camera.close()
    writers = stats[config.command_topic.lstrip("/")].peers
    if bridge:
        report(f"/{config.command_topic}", writers == 1, f"{writers} write, the bridge alone should")
    else:
        alone = writers == 0 and rival.latest() is None
        report(f"/{config.command_topic}", alone, "nobody else writes" if alone else "somebody else writes")
    stops = "the controller's own" if limits.own_timeout else "none: arming needs unguarded=true"
    report("command time-out", True, stops)
    return findings


def _picture(received: Received[Image] | None, config: RobotConfig) -> tuple[bool, str]:
    if received is None:
        return False, "no frame"
    try:
        height, width, _ = rgb_of(received.message).shape
    except ValueError as error:
        return False, str(error)
    expected = config.image_size
    return (height, width) == expected, f"{height} x {width}, expected {expected[0]} x {expected[1]}"


def _skew(received: Received[Any]) -> float:
    """How far the sender's clock was behind ours when the message came [s], its way included."""
    header, since = received.message.header, time.monotonic() - received.time_s
    return time.time() - since - header.sec - header.nanosec * 1e-9

"""Timings of the robot side: wire, images, the loop with the simulated arm, the watchdog. Linux, loopback.

    python scripts/bench_bridge.py [--seconds 10] [--to docs/results/bridge.json]

Prints the figures, and writes them where `--to` says. Times are by the monotonic clock, which all processes of a
machine share. On a machine that does other work the tails measure that work: the load is part of the output.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.messages import Header, Image, JointState, PoseStamped
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.transport import Qos
from robo_reward.runtime.run_folder import made_on
from robo_reward.safety.arm_gate import Mode

DOMAIN = 1 + os.getpid() % 100
CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, domain=int(os.environ.get("BENCH_DOMAIN", DOMAIN)))
DEEP = Qos(reliable=False, depth=10)


def spread(values: list[float]) -> dict[str, float]:
    """p50, p99 and maximum [ms]."""
    quantiles = {"p50_ms": 50, "p99_ms": 99, "max_ms": 100}
    return {name: round(1e3 * float(np.percentile(values, q)), 3) for name, q in quantiles.items()}


def now_header() -> Header:
    """The monotonic clock as a stamp."""
    seconds, nanoseconds = divmod(time.monotonic_ns(), 10**9)
    return Header(seconds, nanoseconds)


def age_of(header: Header) -> float:
    return time.monotonic() - header.sec - header.nanosec * 1e-9


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """This script, or a module, as another process in the same domain."""
    started = subprocess.Popen([sys.executable, *words], env={**os.environ, "BENCH_DOMAIN": str(CONFIG.domain)})
    try:
        yield started
    finally:
        started.terminate()
        started.wait(10)


def echo() -> None:
    """The other end of the round trip."""
    transport = open_transport(CONFIG)
    back = transport.advertise("bench/back", JointState, DEEP)
    transport.subscribe("bench/there", JointState, DEEP, heard=back)
    time.sleep(3600)


def cameras() -> None:
    """Two cameras of 640 x 480 at 30 Hz."""
    transport = open_transport(CONFIG)
    send = [transport.advertise(f"bench/camera{index}", Image, Qos(depth=2)) for index in range(2)]
    pixels = np.random.default_rng(0).integers(0, 256, 480 * 640 * 3, dtype=np.uint8)
    due = time.monotonic()
    while True:
        for publish in send:
            publish(Image(now_header(), 480, 640, "rgb8", 0, 640 * 3, pixels))
        due += 1 / 30
        time.sleep(max(0.0, due - time.monotonic()))


def round_trip(seconds: float) -> dict[str, object]:
    """JointState there and back at 500 Hz."""
    times: list[float] = []
    transport = open_transport(CONFIG)
    transport.subscribe("bench/back", JointState, DEEP, heard=lambda message: times.append(age_of(message.header)))
    publish = transport.advertise("bench/there", JointState, DEEP)
    sent = 0
    with process(__file__, "--part", "echo"):
        due = time.monotonic()
        while time.monotonic() - due < 20 and not times:
            publish(JointState(now_header()))
            time.sleep(0.05)
        time.sleep(0.2)
        times.clear()
        due = time.monotonic()
        while sent < seconds * 500:
            publish(JointState(now_header(), CONFIG.joints, np.zeros(7), np.zeros(7), np.zeros(7)))
            sent, due = sent + 1, due + 0.002
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(0.2)
    transport.close()
    return {"sent": sent, "lost": sent - len(times), **spread(times)}


def images(seconds: float) -> dict[str, object]:
    """Age on arrival and losses of two cameras."""
    ages: list[float] = []

    def arrived(image: Image) -> None:
        ages.append(age_of(image.header))

    transport = open_transport(CONFIG)
    for index in range(2):
        transport.subscribe(f"bench/camera{index}", Image, Qos(depth=2), heard=arrived)
    with process(__file__, "--part", "cameras"):
        deadline = time.monotonic() + 20
        while len(ages) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        ages.clear()
        time.sleep(seconds)
        found = list(ages)
    transport.close()
    return {"expected": int(seconds * 60), "received": len(found), "age": spread(found)}


def cpu_s(pid: int) -> float:
    """Processor time a process has used [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loop(seconds: float, rate_hz: float) -> dict[str, object]:
    """A policy at 20 Hz over the simulated arm: ages, answers, both rhythms, the bridge's share of a core.

    rate_hz: at which the bridge publishes again.
    """
    arrivals: list[float] = []
    ages, answers, asks, late, trips = [], [], [], 0, 0
    robot = Ros2Robot(CONFIG, replace(LIMITS, rate_hz=rate_hz))
    with process("-m", "robo_reward.hardware.sim_arm", f"domain={CONFIG.domain}"):
        robot.connect(timeout_s=30)
        listener = open_transport(CONFIG)
        listener.subscribe(CONFIG.command_topic, PoseStamped, DEEP, heard=lambda _: arrivals.append(time.monotonic()))
        robot.arm()
        time.sleep(0.1)
        pid = robot._process.pid if robot._process else 0
        began, used, overruns = time.monotonic(), cpu_s(pid), robot.status().overruns
        due = began
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            asks.append(asked)
            try:
                if robot.status().mode is not Mode.ARMED:
                    trips += 1
                    robot.arm()
                robot.send(0.2 * np.sin(np.arange(4) + asked))
                answers.append(time.monotonic() - asked)
                ages.append(robot.observe().age_s)
            except (RobotFault, ValueError) as error:
                print(error, file=sys.stderr)
            due += 0.05
            late += time.monotonic() > due
            time.sleep(max(0.0, due - time.monotonic()))
        passed = time.monotonic() - began
        share = (cpu_s(pid) - used) / passed
        overruns = robot.status().overruns - overruns
        robot.close()
        listener.close()
    gaps, turns = (list(np.abs(np.diff(times) - period)) for times, period in ((arrivals, 1 / rate_hz), (asks, 0.05)))
    return {
        "steps": len(answers), "late_steps": late, "trips": trips, "observation_age": spread(ages),
        "answer": spread(answers), "policy_jitter": spread(turns), "command_jitter": spread(gaps),
        "bridge_cpu_share": round(share, 3), "bridge_overruns": overruns, "bridge_periods": int(passed * rate_hz),
    }  # fmt: skip


def watchdog(times: int) -> dict[str, object]:
    """How long after its time-out a policy that holds the interpreter is noticed."""
    took = []
    robot = Ros2Robot(replace(CONFIG, cameras={}), LIMITS)
    with process("-m", "robo_reward.hardware.sim_arm", f"domain={CONFIG.domain}"):
        robot.connect(timeout_s=30)
        for _ in range(times):
            try:
                robot.arm()
                asked = time.monotonic()
                robot.send(np.zeros(4))
            except (RobotFault, ValueError) as error:
                print(error, file=sys.stderr)
                continue
            ctypes.PyDLL(None).usleep(300_000)
            status = robot.status()
            if "no action" in status.reason:
                took.append(status.since_s - asked - LIMITS.action_timeout_s)
        robot.close()
    return {"tried": times, "noticed": len(took), "after_time_out": spread(took)}


def flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures under one long name each."""
    found: dict[str, Any] = {}
    for name, value in parts.items():
        found |= flat(value, f"{prefix}{name}_") if isinstance(value, dict) else {prefix + name: value}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--part", choices=("echo", "cameras"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.part:
        return echo() if words.part == "echo" else cameras()
    result = flat(
        {
            "round_trip_500_hz": round_trip(words.seconds),
            "two_cameras_640x480_30_hz": images(words.seconds),
            "policy_20_hz_bridge_100_hz": loop(words.seconds, 100.0),
            "policy_20_hz_bridge_50_hz": loop(words.seconds, 50.0),
            "watchdog": watchdog(max(10, int(words.seconds * 3))),
        }
    ) | {
        "command": "python scripts/bench_bridge.py",
        "nice": os.nice(0),
        "load_average": round(os.getloadavg()[0], 1),
        **made_on(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if words.to:
        words.to.write_text(text + "\n")


if __name__ == "__main__":
    main()

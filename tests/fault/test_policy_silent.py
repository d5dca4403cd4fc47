"""Row A3: a policy that hangs, holds the interpreter, is stopped or killed. Real processes on the loopback."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")

from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.safety.arm_gate import Mode
from robo_reward.testing.faults import fault_count, record_fault

pytestmark = pytest.mark.fault
DOMAIN = 1 + os.getpid() % 100
CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, domain=DOMAIN, cameras={})
LIMITS = replace(LIMITS, state_timeout_s=0.5)  # a machine at its limit starves the arm too: not what is tried here
SILENT_S = 0.4
POLICY = """
import sys, time
import numpy as np
from robo_reward.hardware.robot import Ros2Robot
from robo_reward.hardware.robot_config import load_robot
robot = Ros2Robot(*load_robot(sys.argv[1]))
robot.connect(timeout_s=30)
robot.arm()
print(robot._process.pid, flush=True)
while True:
    robot.send(np.array([0.0, 0.0, 0.2, 0.0]))
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def robot_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("robot") / "arm.yaml"
    settings = asdict(CONFIG)
    path.write_text(yaml.safe_dump({key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()}))
    return path


@pytest.fixture(scope="module", autouse=True)
def arm_process(robot_file) -> Iterator[None]:
    command = [sys.executable, "-m", "robo_reward.hardware.sim_arm", f"robot={robot_file}", f"parent={os.getpid()}"]
    process = subprocess.Popen(command)
    yield
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def hold_the_interpreter() -> None:
    ctypes.PyDLL(None).usleep(int(SILENT_S * 1e6))  # a C call that keeps the interpreter's lock


def be_stopped() -> None:
    commands = f"kill -STOP {os.getpid()}; sleep {SILENT_S}; kill -CONT {os.getpid()}"
    subprocess.Popen(["sh", "-c", commands]).wait()


SILENCES = {"hangs": lambda: time.sleep(SILENT_S), "holds the interpreter": hold_the_interpreter, "stopped": be_stopped}


def test_a_silent_policy_is_stopped_and_one_that_is_only_late_is_not():
    """How long it took is told, not judged: a loaded machine is late with everything. The control: a bridge whose
    watchdog sleeps longer than the policy is silent."""
    robot, rng, broken = Ros2Robot(CONFIG, LIMITS), np.random.default_rng(0), []
    tried, took, late = fault_count(99, 999), [], 0
    robot.connect(timeout_s=30)
    try:
        for case in range(tried):
            last, missed = silence(robot, rng, case)
            broken += [missed] if missed else []
            took.append(robot.status().since_s - last - LIMITS.action_timeout_s)
            last = drive(robot, rng)
            time.sleep(0.8 * LIMITS.action_timeout_s)
            status, asked = robot.status(), time.monotonic()
            if status.mode is Mode.HELD and asked - last < LIMITS.action_timeout_s:
                broken.append(f"{case}: tripped {asked - last:.3f} s after an action")
            late += asked - last >= LIMITS.action_timeout_s  # this machine was late, the bridge was right
    finally:
        robot.close()
    robot = Ros2Robot(CONFIG, replace(LIMITS, action_timeout_s=1.0))
    robot.connect(timeout_s=30)
    try:
        control = sum(bool(silence(robot, rng, case)[1]) for case in range(12))
    finally:
        robot.close()
    p50, p99 = (f"{1e3 * value:.0f}" for value in np.percentile(took, [50, 99]))
    record_fault(
        "A3", f"policy hangs, holds the interpreter or is stopped: noticed {p50} ms (p50), {p99} ms (p99) after the "
        f"time-out; and is late by 0.8 of it, {late} times later than meant; control: a watchdog of 1 s",
        injected=2 * tried, broken=broken, control_failed=control,
    )  # fmt: skip


def silence(robot: Ros2Robot, rng: np.random.Generator, case: int) -> tuple[float, str]:
    """Drive, then fall silent: when the last action was asked for, and what is wrong with how that was taken."""
    kind = list(SILENCES)[case % 3]
    last = drive(robot, rng)
    SILENCES[kind]()
    status = robot.status()
    noticed = status.mode is Mode.HELD and "no action for" in status.reason
    return last, "" if noticed else f"{case} {kind}: {status.mode} {status.reason}"


def drive(robot: Ros2Robot, rng: np.random.Generator) -> float:
    """Arm when needed, send a few actions, return when the last one was asked for."""
    for _ in range(200):
        try:
            if robot.status().mode is not Mode.ARMED:
                robot.arm()
            for _ in range(2):
                asked = time.monotonic()
                robot.send(rng.uniform(-0.3, 0.3, 4))
                time.sleep(0.02)
            return asked
        except (RobotFault, ValueError):
            time.sleep(0.02)
    raise AssertionError(f"the robot cannot be driven: {robot.status().reason}")


def test_a_killed_policy_leaves_an_arm_at_rest_and_no_bridge(robot_file):
    broken, tried = [], fault_count(10, 100)
    for case in range(tried):
        policy = subprocess.Popen([sys.executable, "-c", POLICY, str(robot_file)], stdout=subprocess.PIPE, text=True)
        assert policy.stdout is not None
        bridge = int(policy.stdout.readline())
        time.sleep(0.2)
        os.kill(policy.pid, signal.SIGKILL)
        policy.wait()
        policy.stdout.close()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{bridge}/cmdline").exists() and Path(f"/proc/{bridge}/cmdline").read_bytes():
            if time.monotonic() > deadline:
                broken.append(f"case {case}: the bridge goes on")
                break
            time.sleep(0.01)
    observer = Ros2Robot(CONFIG, LIMITS)
    observer.connect(timeout_s=30)
    try:
        first = observer.observe().sensed.pose
        time.sleep(0.3)
        if np.abs(observer.observe().sensed.pose - first)[:3].max() > 1e-3:
            broken.append("the arm moves on")
    finally:
        observer.close()
    record_fault("A3", "policy killed: its bridge holds the arm and leaves", injected=tried, broken=broken)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_bridge_with_the_arm_at_rest(number):
    """Row A7, by real signals at random moments; the same by exceptions stands in test_bridge_faults.py."""
    rng, broken, tried = np.random.default_rng(int(number)), [], fault_count(10, 100)
    for case in range(tried):
        robot = Ros2Robot(CONFIG, LIMITS)
        robot.connect(timeout_s=30)
        try:
            robot.arm()
            for _ in range(int(rng.integers(1, 6))):
                robot.send(np.array([0.8, -0.8, 0.3, 0.8]) * (-1) ** case)
                time.sleep(rng.uniform(0.01, 0.04))
            process = robot._process
            assert process is not None
            process.send_signal(number)
            code, status = process.wait(10), robot.status()
            time.sleep(0.4)
            first = robot._state.read()
            time.sleep(0.2)
            second = robot._state.read()
            moved = np.abs(second.pose - first.pose)[:3].max() if first and second else np.inf
            if code != 0 or status.mode is not Mode.HELD or number.name not in status.reason or moved > 1e-3:
                broken.append(f"{case}: code {code}, {status.mode} {status.reason}, moved {moved:.4f} m")
        except (RobotFault, ValueError) as error:
            broken.append(f"{case}: {error}")
        finally:
            robot.close()
    record_fault("A7", f"{number.name} to the bridge process", injected=tried, broken=broken)

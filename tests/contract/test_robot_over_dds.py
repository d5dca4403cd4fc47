"""The whole way over the real wire: simulated arm, bridge and actor as three processes on the loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.messages import Bool, PoseStamped, String
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.transport import LATCHED, Transport
from robo_reward.safety.arm_gate import Mode

DOMAIN = 1 + os.getpid() % 100
CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, domain=DOMAIN, camera_hz=3.0)  # of 30: a busy machine is no broken camera
LIMITS = replace(LIMITS, action_timeout_s=1.0, state_timeout_s=0.5, force=1000.0, torque=100.0)
HOME = np.zeros(4)


@pytest.fixture(scope="module")
def arm_process() -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "robo_reward.hardware.sim_arm", f"domain={DOMAIN}", f"parent={os.getpid()}"]
    process = subprocess.Popen(command)
    yield process
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture(scope="module")
def operator(arm_process) -> Iterator[Transport]:
    """Somebody else on the wire."""
    transport = open_transport(CONFIG)
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def fault(operator) -> Callable[..., None]:
    """Breaks the arm in a way that `sim_arm.Faults` names, or mends it."""
    publish = operator.advertise("sim_arm/fault", String, LATCHED)
    return lambda **what: publish(String(data=json.dumps(what)))


def connected() -> Ros2Robot:
    robot = Ros2Robot(CONFIG, LIMITS)
    robot.connect(timeout_s=30)
    return robot


@pytest.fixture(scope="module")
def robot(arm_process) -> Iterator[Ros2Robot]:
    """One for all tests: each arms it anew."""
    robot = connected()
    yield robot
    robot.close()


@pytest.fixture
def armed(robot, fault) -> Ros2Robot:
    """The robot, armed, whatever the last test left behind."""
    robot.clear()
    soon(lambda: stays_armed(robot, fault), "cannot be armed")
    return robot


def stays_armed(robot: Ros2Robot, fault: Callable[..., None]) -> bool:
    """Mend the arm and arm it; false when there is a reason to hold at once."""
    fault()
    time.sleep(0.05)
    robot.arm()
    time.sleep(0.05)
    return robot.status().mode is Mode.ARMED


def soon(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def drive(robot: Ros2Robot, action: list[float], times: int = 10) -> np.ndarray:
    for _ in range(times):
        executed = robot.send(np.array(action))
        time.sleep(0.04)
    return executed


def test_actions_move_the_arm_as_far_as_the_gate_lets_them(robot):
    start = robot.observe()
    assert start.pixels["wrist"].shape == (84, 84, 3) and np.isnan(start.setpoint).all()  # not armed yet
    robot.arm()
    for _ in range(100):  # a busy machine simulates slowly
        np.testing.assert_allclose(drive(robot, [0.5, 0, 0, 0], 1), [0.5, 0, 0, 0], atol=1e-6)
        if robot.observe().sensed.pose[0] > start.sensed.pose[0] + 0.005:
            break
    assert robot.observe().sensed.pose[0] > start.sensed.pose[0] + 0.004
    assert robot.status().mode is Mode.ARMED and robot.status().trips == 0


def test_a_human_takes_over_and_gives_back(armed):
    robot = armed
    before = robot.observe().sensed.pose
    for _ in range(100):
        robot.take_over(np.array([0, 0.5, 0, 0]))
        np.testing.assert_allclose(robot.send(np.array([0.5, 0, 0, 0])), [0, 0.5, 0, 0], atol=1e-6)
        assert robot.status().human
        time.sleep(0.03)
        if robot.observe().sensed.pose[1] > before[1] + 0.004:
            break
    robot.release()
    after = robot.observe().sensed.pose
    assert after[1] > before[1] + 0.004 and abs(after[0] - before[0]) < 0.003
    assert drive(robot, [-0.5, 0, 0, 0], 2)[0] == pytest.approx(-0.5) and not robot.status().human


def test_the_stop_topic_of_another_process_stops(armed, operator, fault):
    robot = armed
    drive(robot, [0, 0, 0.2, 0], 2)
    stop = operator.advertise("emergency_stop", Bool, LATCHED)
    stop(Bool(data=True))
    soon(lambda: robot.status().mode is Mode.STOPPED, "the stop was not heard")
    with pytest.raises(RobotFault, match="the arm holds: /emergency_stop"):
        robot.send(HOME)
    with pytest.raises(ValueError, match="clear it first"):
        robot.arm()
    late = connected()
    try:
        soon(lambda: late.status().mode is Mode.STOPPED, "a latched stop was not heard by a bridge that came later")
    finally:
        late.close()
        stop(Bool(data=False))
    fault()  # the arm took offence at the second bridge
    robot.clear()
    soon(lambda: stays_armed(robot, fault), "cannot be armed after clearing")


def test_a_bad_action_is_a_fault_and_nothing_moves(armed):
    robot = armed
    where = robot.observe().sensed.pose
    with pytest.raises(RobotFault, match="not finite"):
        robot.send(np.array([np.nan, 0, 0, 0]))
    with pytest.raises(RobotFault, match="the arm holds"):
        robot.send(np.array([1.0, 0, 0, 0]))
    time.sleep(0.2)
    assert np.abs(robot.observe().sensed.pose - where)[:3].max() < 0.002


def test_a_reflex_of_the_robot_holds_and_goes_on_after_arming(armed, fault):
    robot = armed
    drive(robot, [0, 0, 0, 0], 2)
    fault(reflex=True)
    try:
        soon(lambda: robot.status().mode is Mode.HELD, "the reflex was not heard")
        assert "the robot reports: protective stop" in robot.status().reason
    finally:
        fault()
    soon(lambda: stays_armed(robot, fault), "the reflex was not mended")
    drive(robot, [0, 0, 0, 0], 1)


@pytest.mark.parametrize(
    "broken,words",
    [
        ({"camera": "wrist", "camera_mode": "gone"}, "camera wrist: the newest frame is"),
        ({"camera": "front", "camera_mode": "freeze"}, "camera front: the same picture"),
        ({"camera": "side", "camera_mode": "black"}, "camera side: black"),
        ({"state_gone": True}, "s old"),
        ({"nan_joints": True}, "not finite"),
    ],
)
def test_a_robot_that_cannot_be_believed_is_a_fault_and_the_arm_holds(armed, fault, broken, words):
    robot = armed
    fault(**broken)
    try:
        with pytest.raises(RobotFault, match=words):
            for _ in range(400):
                robot.send(HOME)
                robot.observe()
                time.sleep(0.01)
        soon(lambda: robot.status().mode is Mode.HELD, "the arm does not hold")
    finally:
        fault()


def test_one_writer_alone_a_second_one_is_refused_by_the_arm(armed, operator):
    robot = armed
    drive(robot, [0, 0, 0, 0], 2)
    intruder = open_transport(CONFIG)
    try:
        intruder.advertise(CONFIG.command_topic, PoseStamped)
        soon(lambda: robot.status().mode is Mode.HELD, "a second writer went unnoticed")
        assert "two writers" in robot.status().reason
    finally:
        intruder.close()


def test_a_killed_bridge_is_a_fault_and_the_arm_stops_by_itself(armed):
    """The last one: it leaves no bridge behind."""
    robot = armed
    drive(robot, [0, 0, 0.5, 0], 3)
    os.kill(robot._process.pid, signal.SIGKILL)
    robot._process.wait(10)
    with pytest.raises(RobotFault, match="the bridge process ended with code -9"):
        robot.send(np.array([0, 0, 0.5, 0]))
    time.sleep(0.5)
    where = robot._state.read().pose
    time.sleep(0.3)
    assert np.abs(robot._state.read().pose - where)[:3].max() < 0.002


def test_what_is_missing_is_said_in_one_line(arm_process):
    for change, words in (
        ({"wrench": "no/such/topic"}, "no WrenchStamped on /no/such/topic yet"),
        ({"cameras": {"top": "top/image_raw"}}, "camera top: no Image on /top/image_raw"),
        ({"frame": "world"}, "is in frame 'base', expected 'world'"),
        ({"joints": tuple("abcdefg")}, "has no joint 'a', only joint1, joint2"),
        ({"interface": "eth0"}, "not the loopback"),
    ):
        robot = Ros2Robot(replace(CONFIG, **change), LIMITS)
        with pytest.raises(ValueError, match=words) as error:
            robot.connect(timeout_s=1.5)
        assert "\n" not in str(error.value)

"""`robo-reward robot`: a robot by hand, on a robot that only adds up what it is told."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from robo_reward.cli import main
from robo_reward.hardware.check import check
from robo_reward.hardware.images import image_of
from robo_reward.hardware.keyboard import newest_key
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import Header, Image, JointState, PoseStamped, WrenchStamped
from robo_reward.hardware.operate import follow, jog, read_poses, table
from robo_reward.hardware.poses import from_axes
from robo_reward.hardware.robot import RobotFault, RobotObservation
from robo_reward.hardware.robot_config import load_robot
from robo_reward.safety.arm_gate import Sensed

CONFIG, LIMITS = load_robot("sim_arm")
HOME = np.array(CONFIG.home)
JOINTS = np.array([0.0, 0.15, 0.0, -2.2, 0.0, 2.35, 0.785])


class Adder:
    """A `Robot` whose arm does, at once, as far as `gain` says what it is told."""

    def __init__(self, gain: float = 1.0) -> None:
        self.pose, self.gain, self.actions, self.stopped = HOME.copy(), gain, [], ""

    def connect(self) -> None: ...

    def arm(self, unguarded: bool = False) -> None: ...

    def observe(self) -> RobotObservation:
        sensed = Sensed(self.pose.copy(), JOINTS, np.zeros(7), np.zeros(6), time.monotonic())
        return RobotObservation(sensed, self.pose, {}, 0.0)

    def send(self, action: np.ndarray) -> np.ndarray:
        assert np.abs(action).max() <= 1 + 1e-9
        self.actions.append(np.array(action))
        self.pose[list(CONFIG.axes)] += self.gain * action * LIMITS.arrays["step"][list(CONFIG.axes)]
        return action

    def disarm(self, reason: str) -> None: ...

    def stop(self, reason: str) -> None:
        self.stopped = reason

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_poses_are_followed_no_faster_than_asked():
    robot = Adder(gain=0.5)
    goals = HOME + np.array([[0.03, 0, 0, 0, 0, 0.1], [0, -0.02, 0.01, 0, 0, 0]])
    follow(robot, goals, CONFIG.axes, LIMITS, speed=0.4)
    np.testing.assert_allclose(robot.pose[:3], goals[-1][:3], atol=2e-3)
    assert max(np.abs(action).max() for action in robot.actions) == pytest.approx(0.4)


def test_an_arm_that_does_not_get_there_is_a_fault():
    with pytest.raises(RobotFault, match="pose 1 of 1 is not reached"):
        follow(Adder(gain=0.0), HOME[None] + 0.02, CONFIG.axes, LIMITS)


def test_what_is_heeded_on_the_way_ends_it():
    robot, calls = Adder(gain=0.5), iter([None, None, RobotFault("stopped on its way")])

    def heed() -> None:
        if (error := next(calls)) is not None:
            raise error

    with pytest.raises(RobotFault, match="stopped on its way"):
        follow(robot, HOME[None] + 0.02, CONFIG.axes, LIMITS, heed=heed)
    assert len(robot.actions) == 2


def test_the_space_bar_comes_before_the_keys_around_it():
    assert [newest_key(found) for found in ("", "ws", " w", "w ", "  s")] == ["", "s", " ", " ", " "]


def test_keys_move_while_they_are_held_and_the_space_bar_stops(no_waiting):
    keys = iter(["w", "w", "", "", "", "", "", "", "", "?", "e", " "])

    def key(seconds: float) -> str:
        no_waiting[0] += seconds
        return next(keys)

    robot = Adder()
    jog(robot, CONFIG.axes, key)
    forward = [action[0] for action in robot.actions]
    assert forward[:6] == [1.0] * 6 and forward[8:] == [0.0] * 3, "let go after a quarter of a second"
    assert robot.actions[-1].tolist() == [0, 0, 0, -1] and robot.stopped == "space bar"


def test_a_healthy_robot_is_all_green_and_every_fault_has_a_red_line(monkeypatch):
    def looked_at(
        frame: str = "base", size: int = 84, joints: np.ndarray = JOINTS, rival: bool = False, bridge: bool = False
    ):
        network = MemoryNetwork()
        arm, own = (MemoryTransport(network, lambda: time.monotonic()) for _ in range(2))
        wall = divmod(time.time_ns(), 10**9)
        header = Header(*wall, frame)
        sends = [
            (arm.advertise(CONFIG.joint_states, JointState), JointState(header, CONFIG.joints, joints)),
            (arm.advertise(CONFIG.pose, PoseStamped), PoseStamped(header, *from_axes(HOME, CONFIG.tool_down))),
            (arm.advertise(CONFIG.wrench, WrenchStamped), WrenchStamped(header)),
        ]
        picture = image_of(np.full((size, size, 3), 90, np.uint8), header)
        sends += [(arm.advertise(topic, Image), picture) for topic in CONFIG.cameras.values()]
        if rival:
            arm.advertise(CONFIG.command_topic, PoseStamped)
        before = time.sleep

        def streaming(seconds: float) -> None:
            for _ in range(int(seconds * 100)):
                before(0.01)
                for publish, message in sends:
                    publish(message)

        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", streaming)
            return {finding.what: finding for finding in check(CONFIG, LIMITS, own, 1.0, bridge)}

    good = looked_at()
    assert all(finding.good for finding in good.values()), table(list(good.values()))
    assert {"/joint_states", "state", "age", "workspace", "joints", "camera wrist", "/target_pose"} <= set(good)
    beyond = JOINTS.copy()
    beyond[3] = 0.0
    for changes, what, words in (
        ({"frame": "world"}, "state", "in frame 'world', expected 'base'"),
        ({"size": 96}, "camera front", "96 x 96, expected 84 x 84"),
        ({"joints": beyond}, "joints", "joint 4 is nearest to its limit: -0.07 rad"),
        ({"rival": True}, "/target_pose", "somebody else writes"),
    ):
        found = looked_at(**changes)[what]
        assert not found.good and words in found.found, found
    assert table(list(looked_at(rival=True).values())).count("BAD") == 1
    assert looked_at(rival=True, bridge=True)["/target_pose"].good, "the bridge is the one writer"
    assert not looked_at(bridge=True)["/target_pose"].good, "and it is gone"


def test_nothing_there_is_told_topic_by_topic():
    findings = check(CONFIG, LIMITS, MemoryTransport(), 1.0)
    missing = [finding for finding in findings if not finding.good]
    assert {"/joint_states", "/wrist/image_raw", "state", "camera wrist"} <= {finding.what for finding in missing}


def test_recordings_are_read_and_others_refused(tmp_path):
    path = tmp_path / "poses.npz"
    np.savez(path, poses=np.zeros((5, 6)))
    assert read_poses(path, 6).shape == (5, 6)
    with pytest.raises(ValueError, match=r"\(5, 6\), expected \(T, 7\)"):
        read_poses(path, 7)
    np.savez(path, poses=np.full((5, 6), np.nan))
    with pytest.raises(ValueError, match="all finite"):
        read_poses(path, 6)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a recording"):
        read_poses(path, 6)


@pytest.mark.parametrize(
    "words,line",
    [
        (["chek"], "unknown word 'chek': did you mean 'check'?"),
        (["check"], "say which: robot=NAME"),
        (["check", "robot=frnka"], "unknown robot 'frnka': did you mean 'franka'?"),
        (["check", "robot=sim_arm", "fast"], "fast: settings are written name=value"),
        (["check", "robot=sim_arm", "sped=1"], "did you mean 'speed'?"),
        (["check", "robot=sim_arm", "domain=200"], "domain=200: must be from 0 to 101"),
        (["check", "robot=sim_arm", "domain=x"], "domain=x: expected a number"),
        (["record", "robot=sim_arm"], "to=FILE.npz"),
        (["replay", "robot=sim_arm", "file=none.npz"], "none.npz: not a recording"),
        (["home", "robot=franka"], "this robot's file has no home"),
        (["jog", "robot=sim_arm"], "run it in a terminal"),
    ],
)
def test_a_mistake_ends_in_one_line(words, line, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))
    with pytest.raises(SystemExit) as end:
        main(["robot", *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1 and error.startswith("robo-reward robot: ")


def test_help_is_shown(capsys):
    with pytest.raises(SystemExit) as end:
        main(["robot", "help"])
    assert end.value.code == 0 and "check" in capsys.readouterr().out


def test_a_home_outside_the_workspace_is_refused():
    from robo_reward.hardware.robot_config import check_robot

    with pytest.raises(ValueError, match="home=.*inside the workspace of sim_arm"):
        check_robot(replace(CONFIG, home=(0.0,) * 6), LIMITS)

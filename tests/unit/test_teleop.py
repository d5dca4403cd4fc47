"""Teleoperation devices: dead-band, dead-man, staleness, and device streams that come back as they were recorded."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robo_reward.cli import main
from robo_reward.hardware.device_stream import read_stream
from robo_reward.hardware.devices import WithKeys, open_device
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import JointState, Joy, Twist
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.teleop import EVENTS, GRIP, Reading, Teleop, check_device, load_teleop
from robo_reward.hil.arbitration import Arbiter
from robo_reward.testing.hand import Clock, Hand

ROBOT, LIMITS = load_robot("sim_arm")  # actions drive x, y, z and the turn
STREAMS = Path(__file__).parents[1] / "data" / "teleop"
NONE = np.zeros(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def teleop(name: str, clock: Clock, **changes) -> tuple[Teleop, Hand]:
    hand = Hand(clock)
    return Teleop(replace(load_teleop(name), **changes), hand, ROBOT, LIMITS, clock), hand


def asked(device: Teleop):
    return device.read(NONE, NONE)


# ------------------------------------------------------------------ any device


def test_every_file_is_a_device_and_drives_the_simulated_arm_or_says_why_not(clock):
    names = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "teleop").glob("*.yaml"))
    assert names == ["gamepad", "joy", "keyboard", "leader", "spacemouse", "twist"]
    for name in names:
        if name == "leader":
            with pytest.raises(ValueError, match="a leader arm drives joints, and this robot takes target_pose"):
                teleop(name, clock)
        else:
            assert asked(teleop(name, clock)[0]).held is False


def test_the_dead_man_must_be_held(clock):
    device, hand = teleop("joy", clock)
    hand.say(0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    assert not asked(device).held and not asked(device).action.any()
    hand.say(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, buttons=(5,))
    human = asked(device)
    assert human.held and human.action.tolist() == [1.0, 0.0, 0.0, 0.0] and human.action.dtype == np.float32


def test_a_device_that_springs_back_is_let_go_of_at_rest(clock):
    device, hand = teleop("twist", clock)
    hand.say(0.05, 0, 0, 0, 0, 0)
    assert not asked(device).held, "inside the dead-band"
    hand.say(0.55, 0, 0, 0.9, 0, -2.0)
    human = asked(device)
    assert human.held and human.action == pytest.approx([0.5, 0, 0, -1.0]), (
        "from the band's edge, bounded; no roll here"
    )


def test_axes_are_mapped_with_their_sign(clock):
    device, hand = teleop("gamepad", clock)
    hand.say(0.2, -1.0, -1.0, 0.55, 1.0, -1.0, buttons=(5,))  # a pad's triggers rest at -1
    assert asked(device).action == pytest.approx([1.0, -0.1 / 0.9, -1.0, -0.5], abs=1e-6)


def test_a_device_that_stops_sending_releases(clock):
    device, hand = teleop("joy", clock)
    hand.say(0, 1.0, 0, 0, 0, 0, buttons=(5,))
    clock.now += 0.19
    assert asked(device).held
    clock.now += 0.02
    human = asked(device)
    assert not human.held and not human.action.any() and human.time_s == pytest.approx(100.0)


def test_a_device_of_changes_may_be_silent_at_rest_but_not_deflected(clock):
    device, hand = teleop("gamepad", clock)
    hand.say(0, 0, 0, 0, 0, 0, buttons=(5,), silent=True)
    clock.now += 60.0
    human = asked(device)
    assert human.held and human.time_s == clock.now, "the shoulder is held, the sticks rest"
    hand.say(0, -1.0, 0, 0, 0, 0, buttons=(5,), silent=True)
    clock.now += 0.9
    assert asked(device).held
    clock.now += 0.2
    assert not asked(device).held, "a radio pad that fell silent says the same"


def test_what_cannot_be_is_no_input(clock):
    device, hand = teleop("joy", clock)
    for axes in ((0, np.nan, 0, 0, 0, 0), (0, 1.0)):
        hand.say(*axes, buttons=(5,))
        human = asked(device)
        assert not human.held and human.time_s == -np.inf and np.isfinite(human.action).all()


def test_a_lost_device_pauses_the_arbiter_and_is_not_trusted_before_it_was_let_go(clock):
    device, hand = teleop("joy", clock)
    arbiter, zeros = Arbiter(4, clock=clock, blend_steps=1), np.zeros(4, np.float32)
    hand.say(0, 0, 0, 0, 0, 0)
    assert arbiter.decide(zeros, asked(device)).source == "policy"
    hand.say(0, 1.0, 0, 0, 0, 0, buttons=(5,))
    assert arbiter.decide(zeros, asked(device)).source == "human"
    clock.now += 1.0
    assert arbiter.decide(zeros, asked(device)).source == "pause"
    hand.say(0, 1.0, 0, 0, 0, 0, buttons=(5,))
    arbiter.resume()
    assert arbiter.decide(zeros, asked(device)).source == "policy", "still pressed from before"
    hand.say(0, 1.0, 0, 0, 0, 0)
    arbiter.decide(zeros, asked(device))
    hand.say(0, 1.0, 0, 0, 0, 0, buttons=(5,))
    assert arbiter.decide(zeros, asked(device)).source == "human"


def test_buttons_and_keys_are_events_once(clock):
    device, hand = teleop("joy", clock)
    hand.say(0, 0, 0, 0, 0, 0, buttons=(7,))
    assert device.events() == ["start"]
    assert device.events() == [], "still pressed"
    hand.say(0, 0, 0, 0, 0, 0, buttons=(0,))
    asked(device)
    assert device.events() == ["success"], "also when it was read before"
    keys = iter(["y", "", "\n?c", "", ""])
    device = Teleop(load_teleop("joy"), WithKeys(Hand(clock), lambda seconds: next(keys)), ROBOT, LIMITS, clock)
    assert not asked(device).held and device.events() == ["success"], "keys are heard while the device is gone"
    assert device.events() == ["start", "discard"] and device.events() == []


# ------------------------------------------------------------------ leader arm


def test_a_leader_moves_the_follower_as_far_as_itself_from_wherever_both_are(clock):
    joints = ("a", "b")
    robot = replace(ROBOT, joints=joints, command="joint_positions", axes=(0, 1))
    limits = replace(LIMITS, step=(0.1, 0.1))
    config = replace(load_teleop("leader"), joints=joints, axes=(0, 1), scale=(1.0, -1.0), dead_band=0.0)
    network = MemoryNetwork()
    node, other = MemoryTransport(network, clock), MemoryTransport(network, clock)
    _, leader = open_device_of(config, node)
    states, pedal = other.advertise("leader/joint_states", JointState), other.advertise("leader/pedal", Joy)
    device = Teleop(config, leader, robot, limits, clock)

    def ask(positions: tuple[float, float], press: int, measured: tuple[float, float]):
        states(JointState(name=("b", "a"), position=np.array(positions[::-1])))
        pedal(Joy(buttons=np.array([press], np.int32)))
        return device.read(np.array([*measured, 9.0, 9.0]), NONE)

    assert not device.read(np.zeros(4), NONE).held, "nothing came yet"
    assert not ask((1.0, 1.0), 0, (0.3, 0.3)).held
    human = ask((1.0, 1.0), 1, (0.3, 0.3))
    assert human.held and not human.action.any(), "pressing the pedal moves nothing"
    assert ask((1.05, 1.02), 1, (0.3, 0.3)).action == pytest.approx([0.5, -0.2])
    assert ask((1.05, 1.02), 1, (0.35, 0.28)).action == pytest.approx([0.0, 0.0], abs=1e-6), "it has arrived"
    assert ask((2.0, 1.0), 1, (0.35, 0.3)).action[0] == 1.0, "no faster than the robot's step"
    ask((2.0, 1.0), 0, (0.4, 0.3))
    assert not ask((0.0, 0.0), 1, (0.4, 0.3)).action.any(), "and again from wherever they are"
    clock.now += 0.3
    assert not device.read(np.zeros(4), NONE).held


def test_a_leaders_axis_that_is_none_moves_nothing(clock):
    robot = replace(ROBOT, joints=("a", "b"), command="joint_positions", axes=(0, 1))
    config = replace(load_teleop("leader"), joints=("a", "b"), axes=(0, -1), scale=(1.0, 1.0), dead_band=0.0)

    class Leader:
        axes = np.zeros(2)

        def read(self):
            return Reading(self.axes, frozenset({config.dead_man}), clock())

    device = Teleop(config, Leader(), robot, replace(LIMITS, step=(0.1, 0.1)), clock)
    device.read(np.zeros(2), NONE)
    Leader.axes = np.array([0.05, 0.05])
    assert device.read(np.zeros(2), NONE).action == pytest.approx([0.5, 0.0])


def test_the_gripper_begins_as_it_was_told_to(clock):
    robot = replace(ROBOT, gripper="gripper")
    grips = [
        Teleop(load_teleop("joy"), Hand(clock), robot, LIMITS, clock, **more).rest[-1] for more in ({}, {"grip": 0.0})
    ]
    assert grips == [-1, 0], "open for who collects; as it is for who takes over"


def open_device_of(config, node):
    from robo_reward.hardware.wire_devices import LeaderArm

    return config, LeaderArm(node, config.source, config.joints, config.pedal)


# ------------------------------------------------------------------ devices on the wire


@pytest.mark.parametrize("wire", ["memory", "dds"])
def test_joy_and_twist_over_the_wire(wire, clock, tmp_path):
    if wire == "dds":
        pytest.importorskip("cyclonedds")
        from robo_reward.hardware.dds_transport import DdsTransport

        domain = 1 + os.getpid() % 100
        nodes = [DdsTransport(domain) for _ in range(3)]
    else:
        network = MemoryNetwork()
        nodes = [MemoryTransport(network) for _ in range(3)]
    sender, *ours = nodes
    say = {"joy": sender.advertise("joy", Joy), "twist": sender.advertise("spacenav/twist", Twist)}
    axes = np.array([0.0, 1.0, 0, 0, 0, 0], np.float32)
    messages = {
        "joy": Joy(axes=axes, buttons=np.array([0, 0, 0, 0, 0, 1], np.int32)),
        "twist": Twist(linear=np.array([1.0, 0.0, 0.0])),
    }
    try:
        for name, node in zip(say, ours, strict=True):
            config, opened = open_device(name, None, ROBOT, lambda _, node=node: node)
            device = Teleop(config, opened, ROBOT, LIMITS)
            for _ in range(500):  # discovery takes its time
                say[name](messages[name])
                if node.stats()[config.source].received:
                    break
                time.sleep(0.01)
            human = asked(device)
            assert human.held and human.action.tolist() == [1.0, 0.0, 0.0, 0.0], name
            device.close()
    finally:
        for node in nodes:
            node.close()


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"axes": (0, 1)}, "axes has 2 numbers, scale has 6"),
        ({"axes": (-1,) * 6}, "not -1 throughout"),
        ({"scale": (np.nan,) * 6}, "must be finite"),
        ({"buttons": {"sucess": 1}}, "unknown buttons entry 'sucess': did you mean 'success'"),
        ({"device": "joy"}, "needs source=TOPIC"),
        ({"device": "leader", "source": "a", "joints": ("a",)}, "dead_man"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        check_device(replace(load_teleop("keyboard"), **changes))


def test_a_device_with_fewer_axes_than_the_robot_drives_is_refused(clock):
    with pytest.raises(ValueError, match="axes has 3 numbers, the robot's axis 5 has none"):
        teleop("twist", clock, axes=(0, 1, 2), scale=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "words,line",
    [
        (["device"], "say which: teleop=NAME"),
        (["device", "teleop=gamepd"], "unknown teleop 'gamepd': did you mean 'gamepad'?"),
        (["device", "teleop=joy"], "teleop=joy is on a robot's wire: say which, robot=NAME"),
        (["device", "teleop=keyboard"], "run this command in a terminal"),
        (["device", "teleop=none.jsonl"], "none.jsonl: not a recording of a device"),
    ],
)
def test_a_mistake_ends_in_one_line(words, line, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    with pytest.raises(SystemExit) as end:
        main(["robot", *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1


def test_a_recording_is_shown_by_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    stream = STREAMS / "push_down.jsonl"
    with pytest.raises(SystemExit) as end:
        main(["robot", "device", f"teleop={stream}", "seconds=0.5", f"to={tmp_path / 'copy.jsonl'}"])
    assert end.value.code == 0 and "axes [" in capsys.readouterr().out
    assert len(read_stream(tmp_path / "copy.jsonl")[1]) >= 3


def test_the_events_are_those_that_collecting_knows():
    from robo_reward.runtime.teleoperate import JUDGED

    assert set(EVENTS) == {*JUDGED, "partial", "undo", "start", "stop", "leave", *GRIP}

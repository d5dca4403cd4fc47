"""The bridge, step by step, in memory and by a clock of its own: who decides, what is sent, when it holds."""

from __future__ import annotations

import os

import numpy as np
import pytest

from robo_reward.hardware.bridge import HUMAN, POLICY, SLOTS, Bridge
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.messages import (
    Bool,
    Header,
    JointState,
    PoseStamped,
    WrenchStamped,
)
from robo_reward.hardware.poses import from_axes
from robo_reward.hardware.slots import share
from robo_reward.hardware.transport import LATCHED
from robo_reward.safety.arm_gate import Mode
from robo_reward.testing.bridge_stand import CONFIG, HOME, JOINTS, LIMITS, Stand


def test_nothing_is_sent_before_arming_and_the_first_target_is_the_measured_pose():
    stand = Stand()
    stand.step(5)
    assert stand.sent.latest() is None and stand.mode is Mode.DISARMED and np.isnan(stand.told["setpoint"][0])
    assert stand.order("arm") == ""
    assert stand.mode is Mode.ARMED
    np.testing.assert_allclose(stand.told["setpoint"][:6], HOME, atol=1e-9)
    np.testing.assert_allclose(stand.told["pose"][:6], HOME, atol=1e-9)


def test_the_time_out_counts_from_when_the_action_was_asked_for():
    stand = Stand().armed()
    asked = stand.now - 0.1  # it lay there while the bridge was busy
    stand.policy.write(time_s=asked, size=4, action=np.zeros(16))
    while stand.step()["mode"] == Mode.ARMED.value:
        assert stand.now - asked < LIMITS.action_timeout_s + 1.5 / LIMITS.rate_hz
    assert "no action for 0.15" in stand.reason or "no action for 0.16" in stand.reason


def test_joints_that_are_no_numbers_are_not_armed_with():
    stand = Stand()
    stand.step(5)
    stand.console.write(order=b"arm")
    answer = bytes(stand.step(joints=np.full(7, np.nan))["answer"]).decode()
    assert "cannot arm: measured joint positions" in answer and "not finite" in answer
    assert stand.step(5)["mode"] == Mode.DISARMED.value and stand.sent.latest() is None


def test_an_action_is_executed_once_and_answered():
    stand = Stand().armed()
    stand.ask(stand.policy, [1.0, 0.0, -0.5, 0.0])
    told = stand.step()
    assert told["action"] == 1 and told["source"] == POLICY
    np.testing.assert_allclose(told["executed"][: told["size"]], [1, 0, -0.5, 0], atol=1e-9)
    stand.step(13)
    np.testing.assert_allclose(stand.at, HOME + [0.01, 0, -0.005, 0, 0, 0], atol=1e-9)
    sent = stand.sent.latest()
    assert sent and sent.message.header.frame_id == "base"


def test_what_was_asked_before_arming_is_not_executed():
    stand = Stand()
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    stand.ask(stand.human, [1.0, 0, 0, 0], engaged=True)
    stand.step()
    assert stand.order("arm") == ""
    stand.step(10)
    np.testing.assert_allclose(stand.at, HOME, atol=1e-9)
    assert stand.mode is Mode.ARMED


def test_an_old_action_is_not_executed():
    stand = Stand().armed()
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    stand.now += LIMITS.action_timeout_s + 0.05  # the bridge itself stood still
    told = stand.step()
    assert told["action"] == 1 and not told["executed"][:4].any()
    np.testing.assert_allclose(stand.at, HOME, atol=1e-9)


def test_a_silent_policy_trips_and_only_arming_goes_on():
    stand = Stand().armed()
    stand.ask(stand.policy, [0.0] * 4)
    stand.step(14)
    assert stand.mode is Mode.ARMED
    stand.step(2)
    assert stand.mode is Mode.HELD and "no action for" in stand.reason
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    stand.step(20)
    np.testing.assert_allclose(stand.at, HOME, atol=1e-9)
    stand.armed()
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    stand.step(14)
    assert stand.at[0] == pytest.approx(HOME[0] + 0.01)


@pytest.mark.parametrize("action", [[np.nan] * 4, [0.0] * 3, [0.0] * 17, [], [2.0, 0, 0, 0]])
def test_a_bad_action_trips(action):
    stand = Stand().armed()
    padded = np.zeros(16)
    padded[: min(len(action), 16)] = action[:16]
    stand.policy.write(time_s=stand.now, size=len(action), action=padded)
    stand.step()
    assert stand.mode is Mode.HELD and "action" in stand.reason
    np.testing.assert_allclose(stand.at, HOME, atol=1e-9)


def test_a_human_takes_over_and_gives_back():
    stand = Stand().armed()
    for _ in range(4):
        stand.ask(stand.policy, [1.0, 0, 0, 0])
        stand.ask(stand.human, [0, 1.0, 0, 0], engaged=True)
        told = stand.step(2)
        assert told["source"] == HUMAN and told["action"] == stand.policy._number, "the policy is answered all the same"
        np.testing.assert_allclose(told["executed"][:4], [0, 1, 0, 0], atol=1e-9)
    assert stand.at[1] > HOME[1] + 0.005 and stand.at[0] == pytest.approx(HOME[0])
    stand.human.write(time_s=stand.now)
    stand.step(3)
    assert stand.told["source"] == POLICY and stand.at[0] == pytest.approx(HOME[0]), "an old policy action stays old"
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    stand.step(14)
    assert stand.at[0] == pytest.approx(HOME[0] + 0.01)


def test_a_human_whose_device_falls_silent_moves_nothing():
    stand = Stand().armed()
    stand.ask(stand.human, [0, 1.0, 0, 0], engaged=True)
    for _ in range(8):
        stand.ask(stand.policy, [0.0] * 4)
        stand.step(2)
    assert stand.mode is Mode.HELD
    assert "device is silent" in stand.reason or "no action" in stand.reason
    where = stand.at.copy()
    stand.step(30)
    assert np.linalg.norm(stand.at - where) < 1e-3


def test_the_stop_topic_stops_however_short_it_was_and_false_ends_nothing():
    stand = Stand().armed()
    stand.stop(Bool(data=True))
    stand.stop(Bool(data=False))
    stand.step()
    assert stand.mode is Mode.STOPPED and stand.reason == "/emergency_stop"
    assert "clear it first" in stand.order("arm")
    assert stand.order("clear") == "" and stand.mode is Mode.HELD
    assert stand.order("arm") == "" and stand.mode is Mode.ARMED


def test_a_stop_from_before_the_bridge_was_there_counts():
    network = MemoryNetwork()
    stop = MemoryTransport(network).advertise(CONFIG.stop, Bool, LATCHED)
    stop(Bool(data=True))
    descriptor = os.memfd_create("test")
    slots = share(descriptor, SLOTS)
    Bridge(CONFIG, LIMITS, MemoryTransport(network), slots).step()
    assert Mode(int(share(descriptor, SLOTS)[3].read()[1]["mode"])) is Mode.STOPPED
    os.close(descriptor)


def test_orders_are_answered():
    stand = Stand()
    stand.console.write(order=b"arm")
    stand.bridge.step()
    assert (
        "cannot arm: no complete robot state yet (no JointState on /joint_states yet)"
        in bytes(stand.told["answer"]).decode()
    )
    stand.armed()
    assert stand.order("hold coffee") == "" and (stand.mode, stand.reason) == (Mode.HELD, "coffee")
    assert stand.order("stop fire") == "" and (stand.mode, stand.reason) == (Mode.STOPPED, "fire")
    assert stand.order("disarm") == "" and stand.mode is Mode.STOPPED, "an emergency stop stays one"
    assert stand.order("clear") == "" and stand.order("disarm homing") == "" and stand.mode is Mode.DISARMED
    last = stand.sent.latest()
    stand.step(5)
    assert stand.sent.latest() is last, "a disarmed bridge sends nothing"
    assert stand.order("dance") == "unknown order 'dance'"
    assert stand.order("quit") == "" and stand.bridge.quit


def test_joints_come_in_any_order_and_other_messages_on_their_topic_are_passed_over():
    order = np.random.default_rng(0).permutation(7)
    stand = Stand()
    stand.step(3, names=tuple(CONFIG.joints[i] for i in order), joints=JOINTS[order])
    stand.armed()
    stand.joints(JointState(name=("finger",), position=np.array([0.01])))
    stand.bridge.step()
    assert stand.mode is Mode.ARMED
    near = JOINTS.copy()
    near[1] = np.nan
    stand.step(names=tuple(CONFIG.joints[i] for i in order), joints=near[order])
    assert stand.mode is Mode.HELD and "joint positions" in stand.reason and "nan" in stand.reason


@pytest.mark.parametrize(
    "says,words",
    [
        ({"names": tuple("abcdefg")}, "/joint_states has no joint 'joint1', only a, b"),
        ({"joints": np.zeros(3)}, "names 7 joints and has 3 positions"),
        ({"frame": "camera"}, "/current_pose is in frame 'camera', expected 'base'"),
    ],
)
def test_a_wrong_state_says_what_is_wrong_and_nothing_is_armed(says, words):
    stand = Stand()
    stand.step(**says)
    stand.console.write(order=b"arm")
    stand.step(**says)
    assert words in bytes(stand.told["answer"]).decode()
    assert stand.sent.latest() is None


def test_a_quaternion_that_is_none_trips():
    stand = Stand().armed()
    stand.now += 0.01
    stand.pose(PoseStamped(Header(frame_id="base"), HOME[:3], np.zeros(4)))
    stand.bridge.step()
    assert stand.mode is Mode.HELD and "pose" in stand.reason and "not finite" in stand.reason


def test_speeds_are_worked_out_when_the_driver_sends_none():
    stand = Stand().armed()
    joints = JOINTS.copy()
    for _ in range(20):
        stand.now += 0.01
        joints[0] += 0.03
        stand.joints(JointState(name=CONFIG.joints, position=joints))
        stand.pose(PoseStamped(Header(frame_id="base"), *from_axes(HOME, CONFIG.tool_down)))
        stand.wrench(WrenchStamped())
        stand.bridge.step()
    assert stand.mode is Mode.HELD and "joint 1 moves at 3.00 rad/s" in stand.reason


def test_shutting_down_holds_and_rests(monkeypatch):
    stand = Stand().armed()
    stand.ask(stand.policy, [1.0, 1.0, 1.0, 1.0])
    stand.step(5)
    began = stand.now
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(stand, "now", stand.now + seconds))
    stand.bridge.shut_down("test")
    assert stand.now - began <= 0.1
    assert stand.mode is Mode.HELD and stand.reason == "test"


def test_a_disarmed_bridge_that_ends_sends_no_old_pose(monkeypatch):
    stand = Stand().armed()
    assert stand.order("disarm led by hand") == ""
    sent, stand.at = stand.sent.latest().number, HOME + [0.1, 0.15, 0.08, 0, 0, 0]
    stand.step(5)
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(stand, "now", stand.now + seconds))
    stand.bridge.shut_down("test")
    assert stand.sent.latest().number == sent

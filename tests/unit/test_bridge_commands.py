"""What the bridge sends: poses, joints, speeds, the gripper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robo_reward.hardware.memory_transport import MemoryTransport
from robo_reward.hardware.messages import Float64MultiArray, JointTrajectory
from robo_reward.safety.arm_gate import Mode
from robo_reward.testing.bridge_stand import CONFIG, JOINTS, LIMITS, Stand

# ------------------------------------------------------------------ command modes


def joint_robot(command: str) -> Stand:
    names = ("low", "high", "step", "velocity", "acceleration", "jerk", "jump")
    values = dict(zip(names, (-3.0, 3.0, 0.05, 1.0, 10.0, 400.0, 0.3), strict=True))
    limits = replace(LIMITS, **{name: (value,) * 7 for name, value in values.items()})
    return Stand(replace(CONFIG, command=command, axes=tuple(range(7)), wrench=""), limits)


@pytest.mark.parametrize("command", ["joint_positions", "joint_trajectory"])
def test_joint_commands_carry_the_joints(command):
    stand = joint_robot(command).armed()
    stand.ask(stand.policy, [1.0] + [0.0] * 6)
    for _ in range(14):
        stand.step()
        stand.ask(stand.policy, [0.0] * 7)
    message = stand.sent.latest().message
    values = message.data if isinstance(message, Float64MultiArray) else message.points[0].positions
    assert len(values) == 7 and values[0] > JOINTS[0]
    if isinstance(message, JointTrajectory):
        assert message.joint_names == CONFIG.joints and message.points[0].nanosec == 10_000_000


def test_a_velocity_command_is_zero_at_rest_and_after_shutting_down(monkeypatch):
    stand = Stand(replace(CONFIG, command="twist")).armed()
    assert not stand.sent.latest().message.linear.any()
    stand.ask(stand.policy, [1.0, 0, 0, 0])
    speeds = []
    for _ in range(14):
        stand.step()
        speeds.append(stand.sent.latest().message.linear[0])
    assert 0.1 < max(speeds) <= 0.25 and speeds[-1] == pytest.approx(0, abs=1e-9)
    assert sum(speeds) * 0.01 == pytest.approx(0.01, abs=1e-9)
    stand.ask(stand.policy, [0, 1.0, 0, 0])
    stand.step(6)
    assert stand.sent.latest().message.linear[1] > 0.1
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(stand, "now", stand.now + seconds))
    stand.bridge.shut_down("test")
    np.testing.assert_allclose(stand.sent.latest().message.linear, 0, atol=1e-6)


# ------------------------------------------------------------------ the gripper


GRIPPER = replace(CONFIG, gripper="gripper/command", gripper_open=0.08, gripper_closed=0.02)


def gripper_stand() -> tuple[Stand, list[float]]:
    stand, heard = Stand(GRIPPER), []
    listener = MemoryTransport(stand.network, lambda: stand.now)
    listener.subscribe("gripper/command", Float64MultiArray, heard=lambda message: heard.append(float(message.data[0])))
    return stand.armed(), heard


def test_an_actions_last_number_moves_the_gripper_and_comes_back_as_executed():
    stand, heard = gripper_stand()
    for grip, opening in ((-1.0, 0.08), (1.0, 0.02), (0.0, 0.05)):
        stand.ask(stand.policy, [0.5, 0, 0, 0, grip])
        told = stand.step()
        np.testing.assert_allclose(told["executed"][: told["size"]], [0.5, 0, 0, 0, grip], atol=1e-9)
        assert heard[-1] == pytest.approx(opening) == told["opening"]


def test_without_its_number_the_gripper_stays_and_the_answer_says_so():
    stand, heard = gripper_stand()
    stand.ask(stand.policy, [0, 0, 0, 0, 1.0])
    stand.step()
    stand.ask(stand.policy, [0.5, 0, 0, 0])
    told = stand.step()
    np.testing.assert_allclose(told["executed"][: told["size"]], [0.5, 0, 0, 0, 1.0], atol=1e-9)
    assert len(heard) == 1


@pytest.mark.parametrize(
    "action", [[0, 0, 0, 0, np.nan], [0, 0, 0, 0, 1.5], [np.nan, 0, 0, 0, 1.0], [0, 0, 0, 0, 1, 1]]
)
def test_a_bad_action_moves_neither_arm_nor_gripper(action):
    stand, heard = gripper_stand()
    stand.ask(stand.policy, action)
    told = stand.step()
    assert stand.mode is Mode.HELD and heard == [] and not told["executed"][: told["size"]].any()


def test_a_held_arm_leaves_the_gripper_as_it_is():
    stand, heard = gripper_stand()
    stand.order("hold")
    stand.ask(stand.policy, [0, 0, 0, 0, 1.0])
    stand.step(3)
    assert heard == []

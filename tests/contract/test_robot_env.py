"""A robot as an environment: PegInsert's observation and action over the wire, faults as truncation."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")

from robo_reward.console.session import Session
from robo_reward.envs.peg_insert import PegInsertEnv
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import RobotEnv, open_robot_env, start_sim_arm
from robo_reward.hardware.tasks import OperatorTask, SimArmTask
from robo_reward.policies.scripted import ScriptedPeg
from robo_reward.safety.arm_gate import Mode

DOMAIN = 1 + os.getpid() % 100
CONFIG, LIMITS = load_robot("sim_arm")
CONFIG = replace(CONFIG, domain=DOMAIN, camera_hz=3.0)
LIMITS = replace(LIMITS, action_timeout_s=1.0, state_timeout_s=0.5)


@pytest.fixture(scope="module")
def env() -> Iterator[RobotEnv]:
    command = [sys.executable, "-m", "robo_reward.hardware.sim_arm", f"domain={DOMAIN}", f"parent={os.getpid()}"]
    process = subprocess.Popen(command)
    try:
        robot = Ros2Robot(CONFIG, LIMITS)
        robot.connect(timeout_s=30)
        env = RobotEnv(robot, SimArmTask(CONFIG), horizon=30)
        yield env
        env.close()
    finally:
        process.terminate()
        process.wait(10)


def test_it_looks_and_acts_like_the_simulated_environment(env):
    simulated = PegInsertEnv(cameras=("front", "side", "wrist"))
    assert env.action_space == simulated.action_space
    for key in ("agent_pos", "estimate", "pixels"):
        assert env.observation_space[key] == simulated.observation_space[key], key
    here, info = env.reset(seed=3)
    there, expected = simulated.reset(seed=3)
    assert env.observation_space.contains(here) and info["instruction"] == expected["instruction"]
    # The same scene from the same seed: joints and pose, up to what settles differently.
    np.testing.assert_allclose(here["agent_pos"][:13], there["agent_pos"][:13], atol=2e-3)
    np.testing.assert_allclose(here["estimate"][:7], there["estimate"][:7], atol=2e-2)  # noise, most in the yaw
    simulated.close()


def test_the_expert_comes_nearer_and_the_horizon_truncates(env):
    observation, info = env.reset(seed=0)
    policy, began = ScriptedPeg("expert"), info["progress_oracle"]
    state, steps, done = policy.initial_state(1), 0, False
    while not done:
        action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
        observation, reward, terminated, truncated, info = env.step(action[0])
        assert env.observation_space.contains(observation) and np.abs(info["executed_action"]).max() <= 1
        steps, done = steps + 1, terminated or truncated
    assert steps == 30 and truncated and reward == 0 and "fault" not in info
    assert info["progress_oracle"] > began + 0.003, "however busy the machine: the simulated arm loses time, not steps"


def test_a_fault_truncates_and_a_reset_goes_on(env):
    env.reset(seed=1)
    env._robot.hold("somebody at the console")
    _, reward, terminated, truncated, info = env.step(np.zeros(4))
    assert truncated and not terminated and reward == 0 and "somebody at the console" in info["fault"]
    assert not info["executed_action"].any()
    env.reset(seed=2)
    assert "fault" not in env.step(np.zeros(4))[4]


def test_an_arm_that_was_told_to_rest_goes_on_with_the_next_step(env):
    env.reset(seed=1)
    env.step(np.zeros(4))
    env.hold("a person pauses")
    time.sleep(LIMITS.action_timeout_s + 0.3)  # the watchdog has nothing to say to it
    status = env._robot.status()
    assert status.mode is Mode.HELD and "a person pauses" in status.reason
    _, _, _, _, info = env.step(np.zeros(4))
    assert "fault" not in info and env._robot.status().mode is Mode.ARMED


class Resting:
    """A policy that leaves the arm where it is."""

    base_id = "resting"

    def __call__(self, agent_pos, estimate):
        return np.zeros(4, np.float32), np.zeros(4, np.float32)

    def flush(self):
        pass


def test_a_console_session_pauses_and_goes_on_with_a_robot(env, tmp_path):
    session = Session(env, Resting, tmp_path, fps=20, first_seed=5)
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        for event in ("arm", "start"):
            session.post(event).result(30)
        assert until(lambda: len(session.view.state["oracle"]) > 3)
        session.post("pause").result(30)
        steps = session.view.state["steps"]
        time.sleep(LIMITS.action_timeout_s + 0.3)
        assert "paused at the console" in env._robot.status().reason and session.view.state["steps"] == steps
        session.post("resume").result(30)
        assert until(lambda: session.view.state["steps"] > steps + 3)
        assert session.view.state["fault"] == "" and session.view.state["age_s"] < LIMITS.state_timeout_s
        session.post("success").result(30)
        assert env._robot.status().mode is not Mode.STOPPED
    finally:
        session.stop()
        thread.join()
    assert session.labels.judged() == [["session-00000", "success"]]


def until(condition) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(condition())


def test_a_bad_action_is_a_mistake_of_the_caller(env):
    env.reset(seed=2)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([np.nan, 0, 0, 0]))


@pytest.fixture(scope="module")
def other_arm(tmp_path_factory) -> Iterator[Ros2Robot]:
    """The same arm as any other one: with a gripper, in a domain of its own, its judge and estimates plain topics."""
    config = replace(
        CONFIG, domain=1 + (DOMAIN + 49) % 100, simulated=False, cameras={}, ask=False, estimate="sim_arm/estimate",
        judge="sim_arm/judge", instruction="insert the peg", gripper="gripper/command", gripper_open=0.035,
        gripper_closed=0.01, gripper_state="gripper/joint_states",
    )  # fmt: skip
    end = start_sim_arm(config)
    try:
        robot = Ros2Robot(config, LIMITS)
        robot.connect(timeout_s=30)
        yield robot
        robot.close()
    finally:
        end()


def test_any_other_arm_is_led_home_and_judged_by_topics(other_arm):
    env = RobotEnv(other_arm, OperatorTask(other_arm), horizon=3)
    assert env.action_space.shape == (5,)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation) and info["instruction"] == "insert the peg"
    home, pose = np.array(CONFIG.home)[[0, 1, 2]], observation["agent_pos"][7:10]
    np.testing.assert_allclose(pose, home, atol=0.006)
    opening = [step[0]["agent_pos"][25] for step in [env.step(np.array([0, 0, 0, 0, -1.0])) for _ in range(3)]]
    assert opening[-1] > opening[0] and opening[-1] > 0.012, "the measured opening, not the one that was sent"


def test_an_arm_that_somebody_else_drives_is_left_alone(other_arm):
    with pytest.raises(ValueError, match="somebody else writes to /target_pose: end the other bridge first"):
        open_robot_env(other_arm.config, LIMITS, horizon=3, image_size=84)


class Terminal:
    """An operator who presses these keys, one after the other."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def __call__(self, seconds: float) -> str:
        return self.keys.pop(0) if self.keys else ""


def test_an_operator_sets_up_judges_and_stops(other_arm, capsys):
    config = replace(other_arm.config, ask=True, judge="", home=())
    other_arm.config, before = config, other_arm.config
    try:
        task = OperatorTask(other_arm, key=Terminal("", "\n", "", "s"))
        assert task.reset(0, {}) == "insert the peg" and "press Enter" in capsys.readouterr().out
        assert [task.judge()[2] for _ in range(3)] == [False, True, False]
        assert task.judge()[:2] == (-1, None)
        task._key = Terminal(" ")
        task.judge()
        assert other_arm.status().mode is Mode.STOPPED
        other_arm.clear()
        task._poses, task._key = other_arm.observe().sensed.pose[None] + 0.02, Terminal(" ")
        with pytest.raises(RobotFault, match="stopped on its way"):  # while it is led back
            task.reset(0, {})
        assert other_arm.status().mode is Mode.STOPPED
        other_arm.clear()
        task._poses, task._key = task._poses[:0], Terminal("x")
        with pytest.raises(KeyboardInterrupt):
            task.reset(0, {})
        task.close()
        with pytest.raises(ValueError, match="the operator is asked: run it in a terminal"):
            OperatorTask(other_arm)
    finally:
        other_arm.config = before

"""A robot as an environment: PegInsert's observation and action over the wire, faults as truncation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cyclonedds")
pytest.importorskip("mujoco")

from robo_reward.envs.peg_insert import PegInsertEnv
from robo_reward.hardware.robot import Ros2Robot
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import RobotEnv, SimArmTask
from robo_reward.policies.scripted import ScriptedPeg

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


def test_a_bad_action_is_a_mistake_of_the_caller(env):
    env.reset(seed=2)
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([np.nan, 0, 0, 0]))

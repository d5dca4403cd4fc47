"""Lift-v0 keeps to the project's environment interface."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.envs.robosuite_lift import LiftEnv
from robo_reward.policies.scripted_lift import ScriptedLift
from robo_reward.testing.scripted import scripted_episode

pytest.importorskip("robosuite")


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/Lift-v0").unwrapped
    yield env
    env.close()


def roll(env, seed, kind="expert"):
    """One scripted episode: observations, infos, actions, last (terminated, truncated)."""
    observations, infos, ended = scripted_episode(env, seed, kind)
    return observations, infos, np.array([info["executed_action"] for info in infos[1:]]), ended


def success_rate(env, kind, seeds):
    return np.mean([roll(env, seed, kind)[3][0] for seed in seeds])


def test_gymnasium_accepts_it():
    env = gymnasium.make("robo_reward/Lift-v0", cameras=("agentview", "wrist")).unwrapped
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*infinity.*")
        check_env(env)
    env.close()


def test_the_same_seed_gives_the_same_trajectory_bit_for_bit_whatever_came_before(env):
    first, first_infos, actions, _ = roll(env, 5)
    roll(env, 6, "weak")
    other = gymnasium.make("robo_reward/Lift-v0").unwrapped
    for world in (env, other):
        observation, info = world.reset(seed=5)
        for step in range(len(first)):
            for key, value in first[step].items():
                np.testing.assert_array_equal(observation[key], value, err_msg=f"{key} at step {step}")
            np.testing.assert_equal(info, first_infos[step])
            if step < len(actions):
                observation, _, _, _, info = world.step(actions[step])
    other.close()


def test_seeds_differ_and_the_instruction_stays(env):
    starts, instructions = set(), set()
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        starts.add(observation["environment_state"].tobytes())
        instructions.add(info["instruction"])
    assert len(starts) == 20 and len(instructions) == 1


def test_paraphrases_name_the_cube_and_leave_the_scene_alone(env):
    plain, _ = env.reset(seed=3)
    env.paraphrase = True
    instructions = {env.reset(seed=seed)[1]["instruction"] for seed in range(20)}
    again, _ = env.reset(seed=3)
    env.paraphrase = False
    assert len(instructions) >= 4 and all("red" in instruction for instruction in instructions)
    np.testing.assert_array_equal(plain["environment_state"], again["environment_state"])


def test_the_estimate_is_near_the_truth_and_never_the_truth(env):
    errors = []
    for seed in range(15):
        for observation in (env.reset(seed=seed)[0], env.step(np.zeros(5, np.float32))[0]):
            errors.append(observation["estimate"][:3] - observation["environment_state"][13:16])
    errors = np.abs(errors)
    assert errors.max() < 0.02 and np.median(errors) > 0.0005 and errors.min() > 0


def test_an_expert_episode_passes_every_stage_and_terminates(env):
    observations, infos, actions, ended = roll(env, 1)
    assert ended == (True, False) and infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4}
    assert infos[0]["progress_oracle"] < 0.25
    # The cube really is 4 cm up, between the fingers.
    assert observations[-1]["environment_state"][2] > 0.8 + 0.02 + 0.04
    np.testing.assert_array_equal([info["executed_action"] for info in infos[1:]], actions)


def test_a_dropped_cube_regresses_and_the_horizon_truncates():
    env = gymnasium.make("robo_reward/Lift-v0", horizon=60).unwrapped
    observation, info = env.reset(seed=1)
    policy, dropped, progress = ScriptedLift(), False, []
    state, ended = policy.initial_state(1), [False, False]
    while not any(ended):
        action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
        dropped = dropped or (info["stage"] == 3 and info["progress_oracle"] > 0.85)
        if dropped:
            action = np.array([[0, 0, 0, 0, -1]], np.float32)
        observation, reward, *ended, info = env.step(action[0])
        progress.append(info["progress_oracle"])
    assert dropped and ended == [False, True] and len(progress) == 60 and reward == 0
    assert max(progress) > 0.85 and progress[-1] < 0.7 and not info["is_success"]
    env.close()


@pytest.mark.parametrize(
    "action,message",
    [
        ([0, 0, np.nan, 0, 0], "not finite"),
        ([0, 1.5, 0, 0, 0], "outside"),
        ([0, 0, 0, 0], "shape"),
    ],
)
def test_a_bad_action_is_refused_in_one_line_and_changes_nothing(env, action, message):
    env.reset(seed=0)
    before = env.step(np.zeros(5, np.float32))[0]
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message) as refused:
        env.step(np.array(action))
    assert "\n" not in str(refused.value)
    np.testing.assert_array_equal(env.step(np.zeros(5, np.float32))[0]["agent_pos"], before["agent_pos"])


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"cameras": ("front",)}, "it has: agentview, wrist"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"horizon": 0}, "horizon=0"),
        ({"image_size": 2}, "image_size=2"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LiftEnv(**arguments)


def test_another_target_than_the_one_cube_is_refused(env):
    env.reset(seed=0, options={"target": 0})
    with pytest.raises(ValueError, match="target=1"):
        env.reset(seed=0, options={"target": 1})


def test_contact_force_is_felt_when_the_hand_presses_on_the_table(env):
    env.reset(seed=0)
    free = [env.step(np.zeros(5, np.float32))[4]["contact_force"] for _ in range(5)]
    pressing = [env.step(np.array([0, 0, -1, 0, 0], np.float32))[4]["contact_force"] for _ in range(40)]
    assert max(free) < 3.0 and max(pressing) > 30.0


def test_missing_robosuite_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'robo_reward\[robosuite\]'"):
        gymnasium.make("robo_reward/Lift-v0")


def test_making_one_prints_nothing():
    script = "import robo_reward.envs, gymnasium; gymnasium.make('robo_reward/Lift-v0').reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "" and done.stderr == ""


def test_the_expert_nearly_always_lifts(env):
    assert success_rate(env, "expert", range(10)) >= 0.9


@pytest.mark.slow
def test_scripted_success_over_thirty_seeds(env):
    assert success_rate(env, "expert", range(100, 130)) >= 0.9
    assert 0.1 <= success_rate(env, "weak", range(100, 130)) <= 0.4

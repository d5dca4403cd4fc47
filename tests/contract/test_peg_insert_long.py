"""PegInsertLong-v0: what it adds to the conformance kit: a grasp by friction, and the fingers' feeling of it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.envs.perturbation import PHYSICAL, Perturbed  # noqa: E402
from robo_reward.policies.scripted_peg_long import ScriptedPegLong  # noqa: E402

TIP, WRENCH, OPENING = slice(6, 9), slice(13, 19), 25
STILL = np.zeros(5, np.float32)


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/PegInsertLong-v0").unwrapped
    yield env
    env.close()


def roll(env, seed, kind="expert", until=None):
    """A scripted episode until success, time-out or until(info): observations and infos."""
    policy = ScriptedPegLong(kind, seed)
    observation, info = env.reset(seed=seed)
    state, observations, infos, done = policy.initial_state(1), [observation], [info], False
    while not done and not (until and until(info)):
        action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
        observation, _, terminated, truncated, info = env.step(action[0])
        observations.append(observation), infos.append(info)
        done = terminated or truncated
    return observations, infos


def lifted(env, seed=0):
    """The last observation of an expert that has lifted the peg off the table by a centimetre."""
    observations, infos = roll(env, seed, until=lambda _: env._geometry()[0] > -0.03)
    assert infos[-1]["stage"] == 2
    return observations[-1]


def test_an_expert_episode_passes_every_stage(env):
    observations, infos = roll(env, 0)
    assert infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4}
    assert 0.10 < np.linalg.norm(observations[0]["estimate"][[4, 5, 16]]) < 0.40  # a far start
    assert observations[0]["environment_state"][TIP][2] == pytest.approx(0, abs=1e-3)  # on the table
    assert infos[0]["instruction"] in ("insert the peg into the blue socket", "insert the peg into the orange socket")


def test_the_first_sixteen_estimates_are_peg_insert_s(env):
    """Tip relative to mouth follows from the place in hand and the socket, wherever the peg is."""
    for observation in roll(env, 1, until=lambda info: info["stage"] == 3)[0][::10]:
        pose, estimate = observation["agent_pos"][7:13].astype(float), observation["estimate"].astype(float)
        turn = lambda a, v: np.array([np.cos(a) * v[0] - np.sin(a) * v[1], np.sin(a) * v[0] + np.cos(a) * v[1]])  # noqa: E731
        tip = pose[:3] + [*turn(pose[5], estimate[4:6]), estimate[16]]
        np.testing.assert_allclose(turn(-estimate[3], (tip - estimate[:3])[:2]), estimate[7:9], atol=1e-5)
        assert tip[2] - estimate[2] == pytest.approx(estimate[9], abs=1e-5)
        assert np.abs(tip - observation["environment_state"][TIP]).max() < 0.002


def test_a_held_peg_stays_in_the_hand_and_the_fingers_feel_its_weight_alone(env):
    observation = lifted(env)
    before, felt = observation["estimate"][[4, 5, 6, 16]], []
    for _ in range(60):
        observation, *_, info = env.step(STILL)
        felt.append(observation["agent_pos"][WRENCH])
    assert np.abs(observation["estimate"][[4, 5, 6, 16]] - before).max() < 5e-4  # three seconds
    np.testing.assert_allclose(np.mean(felt, 0)[:3], [0, 0, -0.04 * 9.81], atol=0.15)
    assert info["stage"] == 2 and np.all(env._pressed > 20)
    assert observation["agent_pos"][OPENING] == pytest.approx(0.010, abs=0.001)


def test_the_open_hand_drops_the_peg_and_progress_falls(env):
    lifted(env)
    progress = [env._progress()[1]]
    for _ in range(15):
        observation, *_, info = env.step(np.array([0, 0, 1, 0, -1], np.float32))
        progress.append(info["progress_oracle"])
    assert observation["environment_state"][TIP][2] < 0.02 and info["stage"] < 2
    assert progress[0] - progress[-1] > 0.1 and observation["agent_pos"][OPENING] > 0.03


def test_a_peg_that_is_knocked_over_is_lost(env):
    observation, _ = env.reset(seed=2)
    for step in range(120):  # closed fingers, low, through the peg
        yaw, away = observation["agent_pos"][12], observation["estimate"][[4, 5, 16]].astype(float)
        c, s = np.cos(yaw), np.sin(yaw)
        way = np.array([c * away[0] - s * away[1], s * away[0] + c * away[1], away[2] + 0.012])
        way[0] -= 0.06 if step < 60 else -0.02
        action = np.array([*np.clip(60 * way, -1, 1), 0, 1], np.float32)
        observation, *_, info = env.step(action)
        if observation["environment_state"][16] < 0.5:
            break
    assert observation["environment_state"][16] < 0.5, "the peg still stands"
    assert info["stage"] == 0 and info["progress_oracle"] <= 0.25


def test_pressing_on_the_rim_is_felt_through_the_fingers(env):
    observations, infos = roll(env, 1, until=lambda info: info["stage"] == 3)
    force = []
    for _ in range(12):
        observation, *_, info = env.step(np.array([0, 0, -0.3, 0, 1], np.float32))
        force.append(observation["agent_pos"][15])
        if info["stage"] == 4:
            pytest.fail("this seed goes in without a search: choose another")
    assert np.mean(force[-5:]) == pytest.approx(7.5, rel=0.25)  # 2500 N/m times 3 mm
    assert np.abs(observation["estimate"][14:16]).max() > 0.001  # and where the rim presses


@pytest.mark.parametrize("axis", PHYSICAL)
def test_every_physical_perturbation_applies(axis):
    world = gymnasium.make("robo_reward/PegInsertLong-v0")
    plain, _ = world.reset(seed=3)
    env = Perturbed(world, axis, 3)
    observation, _ = env.reset(seed=3)
    for _ in range(3):
        env.step(STILL)
    moved = np.abs(observation["environment_state"][:9] - plain["environment_state"][:9]).max()
    assert (moved > 1e-4) == (axis in ("layout", "object"))  # another peg stands elsewhere by its own height
    world.close()


@pytest.mark.slow
def test_the_expert_succeeds_nine_times_in_ten_and_the_weak_one_mostly_fails(env):
    expert = [roll(env, seed)[1][-1] for seed in range(20)]
    assert np.mean([info["is_success"] for info in expert]) >= 0.9
    weak = [roll(env, seed, "weak")[1] for seed in range(20)]
    assert np.mean([infos[-1]["is_success"] for infos in weak]) <= 0.4
    furthest = [max(info["stage"] for info in infos) for infos in weak if not infos[-1]["is_success"]]
    assert len(set(furthest)) >= 3
    losses = [max(info["progress_oracle"] for info in infos) - infos[-1]["progress_oracle"] for infos in weak]
    assert sum(loss > 0.2 for loss in losses) >= 3

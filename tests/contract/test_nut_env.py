"""NutAssemblySquare-v0: what is its own beside the interface that every world keeps to."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.policies.scripted_nut import ScriptedNut

pytest.importorskip("robosuite")
PEG = np.array([0.23, 0.10])
"""Where robosuite's model has the square peg's axis [m]."""


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/NutAssemblySquare-v0").unwrapped
    yield env
    env.close()


def roll(env, seed, kind="expert", release_at=None):
    """One scripted episode: observations, infos, last (terminated, truncated); the hand opens at `release_at`."""
    policy, steps_open = ScriptedNut(kind), 0
    observation, info = env.reset(seed=seed)
    state, observations, infos, ended = policy.initial_state(1), [observation], [info], (False, False)
    while not any(ended) and steps_open < 15:
        action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
        if steps_open or (release_at is not None and release_at(info)):
            action, steps_open = np.array([[0, 0, 0, 0, -1]], np.float32), steps_open + 1
        observation, _, *ended, info = env.step(action[0])
        observations.append(observation), infos.append(info)
    return observations, infos, tuple(ended)


@pytest.fixture(scope="module")
def expert(env):
    return roll(env, 0)


def test_an_expert_episode_passes_every_stage_and_ends_with_the_nut_around_the_square_peg(expert):
    observations, infos, ended = expert
    assert ended == (True, False) and infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4}
    assert infos[0]["progress_oracle"] < 0.25 and len(infos) < 150
    nut = observations[-1]["environment_state"][:3]
    assert np.abs(nut[:2] - PEG).max() < 0.012 and nut[2] < 0.87
    assert max(observation["environment_state"][2] for observation in observations) > 0.96  # over the peg's top


def test_what_is_grasped_is_the_handle_and_the_target_is_the_pegs_top(expert):
    for observation in expert[0]:
        truth = observation["environment_state"]
        np.testing.assert_allclose(truth[:3] + truth[16:19], [*PEG, 0.95], atol=1e-6)
    start = expert[0][0]
    grip = start["agent_pos"][7:10] - [0.56, 0.0, -0.912]
    assert np.linalg.norm(grip + start["environment_state"][13:16] - start["environment_state"][:3]) == pytest.approx(
        0.066, abs=1e-3
    )


def test_the_estimate_is_near_the_truth_and_never_the_truth(expert):
    seen = np.array([observation["estimate"][[0, 1, 2, 5, 6, 7]] for observation in expert[0]])
    truth = np.array([observation["environment_state"][13:19] for observation in expert[0]])
    bias = expert[0][0]["environment_state"][19:26][[0, 1, 2, 4, 5, 6]]
    errors = np.abs(seen - truth)
    assert errors.max() < 0.017 and errors.min() > 0
    np.testing.assert_allclose((seen - truth).mean(0), bias, atol=1e-3)


def test_a_nut_that_is_let_go_of_on_the_way_loses_its_progress(env):
    _, infos, ended = roll(env, 0, release_at=lambda info: info["progress_oracle"] > 0.62)
    progress = [info["progress_oracle"] for info in infos]
    assert ended == (False, False) and not infos[-1]["is_success"]
    assert max(progress) > 0.62 and progress[-1] < 0.4


def test_views_show_nut_and_pegs(env):
    env.reset(seed=0)
    frame = env.render_views()["agentview"].astype(int)
    brass = (frame[..., 0] > frame[..., 2] + 40) & (frame[..., 0] > 80)
    upper, lower = brass[:42].sum(), brass[42:].sum()
    assert 30 < upper < 500 and 30 < lower < 500  # the nut, and nearer the camera the square peg


@pytest.mark.slow
def test_scripted_success_over_thirty_seeds(env):
    assert np.mean([roll(env, seed)[2][0] for seed in range(100, 130)]) >= 0.9
    assert np.mean([roll(env, seed, "weak")[2][0] for seed in range(100, 130)]) <= 0.2

"""Stack-v0: what it adds to the conformance kit, which test_worlds runs on it as on every world."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.testing.scripted import scripted_episode as roll

pytest.importorskip("robosuite")


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/Stack-v0").unwrapped
    yield env
    env.close()


def test_an_expert_episode_passes_every_stage_and_leaves_one_cube_on_the_other(env):
    observations, infos, ended = roll(env, 101)
    assert ended == (True, False) and infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4} and len(infos) < 110
    assert infos[0]["progress_oracle"] < 0.25 and infos[0]["instruction"] == "stack the red cube on the green cube"
    red, target = observations[-1]["environment_state"][:3], observations[-1]["environment_state"][16:19]
    assert red[2] == pytest.approx(0.87, abs=0.01) and np.abs(target[:2]).max() < 0.03
    assert target[2] == pytest.approx(-0.045, abs=0.005)


def test_a_cube_dropped_on_the_way_regresses_and_is_no_success(env):
    dropped = []

    def open_early(info, action):
        dropped.append(bool(dropped and dropped[-1]) or (info["stage"] == 2 and info["progress_oracle"] > 0.55))
        return np.array([0, 0, 0, 0, -1], np.float32) if dropped[-1] else action

    _, infos, ended = roll(env, 104, meddle=open_early)
    progress = [info["progress_oracle"] for info in infos]
    assert any(dropped) and ended == (False, True) and not infos[-1]["is_success"]
    assert max(progress) > 0.55 and progress[-1] < 0.5


def test_the_estimate_is_near_both_cubes_and_never_exact(env):
    errors = []
    for seed in range(10):
        for observation in (env.reset(seed=seed)[0], env.step(np.zeros(5, np.float32))[0]):
            estimate, truth = observation["estimate"], observation["environment_state"]
            errors.append(np.concatenate([estimate[:3] - truth[13:16], estimate[5:] - truth[16:19]]))
    errors = np.abs(errors)
    assert errors.max() < 0.02 and np.median(errors) > 0.0005 and errors.min() > 0


@pytest.mark.slow
def test_scripted_success_over_thirty_seeds(env):
    expert = [roll(env, seed) for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in expert]) >= 0.9
    weak = [roll(env, seed, "weak") for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in weak]) <= 0.4
    furthest = [max(info["stage"] for info in infos) for _, infos, ended in weak if not ended[0]]
    assert all(furthest.count(stage) >= 2 for stage in (1, 2, 3))

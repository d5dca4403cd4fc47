"""Door-v0: what it adds to the conformance kit, which test_worlds runs on it as on every world."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.envs.perturbation import Perturbed
from robo_reward.testing.scripted import scripted_episode as roll

pytest.importorskip("robosuite")


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/Door-v0").unwrapped
    yield env
    env.close()


def test_an_expert_episode_passes_every_stage_and_opens_the_door(env):
    observations, infos, ended = roll(env, 101)
    assert ended == (True, False) and infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4} and len(infos) < 110
    assert infos[0]["progress_oracle"] < 0.25 and infos[0]["instruction"] == "open the door"
    truth = np.array([observation["environment_state"] for observation in observations])
    assert truth[0, 16:18] == pytest.approx([1.2, 0.3], abs=0.01) and truth[-1, 17] < 0  # lever and door, angles left
    assert truth[:, 16].min() < 0  # the latch was freed on the way
    velocity = np.diff(truth[:, 17]) * -20
    np.testing.assert_allclose(truth[1:, 7][-6:], velocity[-6:], atol=0.3)  # the door's, which grows as it opens
    errors = np.abs([o["estimate"][:3] - o["environment_state"][13:16] for o in observations])
    assert errors.max() < 0.015 and errors.min() > 0


def test_a_lever_that_is_let_go_of_springs_back_and_progress_falls(env):
    left = []

    def rise(info, action):
        left.append(bool(left and left[-1]) or (info["stage"] == 2 and info["progress_oracle"] > 0.6))
        return np.array([0, 0, 1, 0, -1], np.float32) if left[-1] else action

    _, infos, ended = roll(env, 101, meddle=rise)
    progress = [info["progress_oracle"] for info in infos]
    assert any(left) and ended == (False, True)
    assert max(progress) > 0.6 and progress[-1] < 0.5


def test_the_perception_axis_enlarges_the_estimate_s_bias(env):
    plain = env.reset(seed=3)[0]["environment_state"]
    wrong = Perturbed(env, "perception", 2).reset(seed=3)[0]["environment_state"]
    env.estimate_error = 1.0
    np.testing.assert_allclose(wrong[18:], 2 * plain[18:], rtol=1e-5)
    np.testing.assert_allclose(wrong[:13], plain[:13], atol=1e-6)


@pytest.mark.slow
def test_scripted_success_over_thirty_seeds(env):
    expert = [roll(env, seed) for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in expert]) >= 0.9
    weak = [roll(env, seed, "weak") for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in weak]) <= 0.4
    assert len({max(info["stage"] for info in infos) for _, infos, ended in weak if not ended[0]}) >= 3

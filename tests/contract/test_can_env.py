"""PickPlaceCan-v0: what it adds to the conformance kit, which test_worlds runs on it as on every world."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.testing.scripted import scripted_episode as roll

pytest.importorskip("robosuite")
RIM = 0.9  # [m], upper edge of the bins
BIN = np.array([[0.1, 0.28], [0.295, 0.525]])  # the can's bin, low and high corner


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robo_reward/PickPlaceCan-v0").unwrapped
    yield env
    env.close()


def red_column(env):
    """Mean column of the red pixels of agentview."""
    frame = env.render_views()["agentview"].astype(int)
    red = np.argwhere((frame[..., 0] > 90) & (frame[..., 1] < 60) & (frame[..., 2] < 70))
    assert 5 < len(red) < 200
    return red[:, 1].mean()


def test_an_expert_episode_passes_every_stage_and_leaves_the_can_in_its_bin(env):
    observations, infos, ended = roll(env, 107)
    assert ended == (True, False) and infos[-1]["is_success"] and infos[-1]["progress_oracle"] == 1.0
    assert {info["stage"] for info in infos} == {0, 1, 2, 3, 4} and len(infos) < 150
    assert infos[0]["progress_oracle"] < 0.25
    can = [observation["environment_state"][:3] for observation in observations]
    assert can[0][1] < 0 and max(place[2] for place in can) > RIM + 0.04
    assert np.all(can[-1][:2] > BIN[0]) and np.all(can[-1][:2] < BIN[1]) and can[-1][2] < RIM
    assert infos[0]["instruction"] == "put the can into its bin"


def test_agentview_shows_the_can_before_and_after(env):
    env.reset(seed=107)
    before = red_column(env)
    assert roll(env, 107)[2] == (True, False)
    assert before < 42 < red_column(env) < 80  # from the left half to the right one, inside the picture


def test_a_can_lost_over_the_wrong_place_regresses_and_is_no_success(env):
    dropped = []

    def open_early(info, action):
        dropped.append(bool(dropped and dropped[-1]) or (info["stage"] == 2 and info["progress_oracle"] > 0.65))
        return np.array([0, 0, 0, 0, -1], np.float32) if dropped[-1] else action

    _, infos, ended = roll(env, 107, meddle=open_early)
    progress = [info["progress_oracle"] for info in infos]
    assert any(dropped) and ended == (False, True) and not infos[-1]["is_success"]
    assert max(progress) > 0.65 and progress[-1] < 0.4


def test_the_estimate_is_near_can_and_bin_and_never_exact(env):
    errors = []
    for seed in range(15):
        for observation in (env.reset(seed=seed)[0], env.step(np.zeros(5, np.float32))[0]):
            estimate, truth = observation["estimate"], observation["environment_state"]
            errors.append(np.concatenate([estimate[:3] - truth[13:16], estimate[5:] - truth[16:19]]))
            np.testing.assert_array_equal(estimate[3:5], [1, 0])  # a round can has no yaw
            np.testing.assert_allclose(truth[:3] + truth[16:19], [*BIN.mean(0), 0.82], atol=1e-6)
    errors = np.abs(errors)
    assert errors.max() < 0.025 and np.median(errors) > 0.0005 and errors.min() > 0


@pytest.mark.slow
def test_scripted_success_over_thirty_seeds(env):
    expert = [roll(env, seed) for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in expert]) >= 0.9
    weak = [roll(env, seed, "weak") for seed in range(100, 130)]
    assert np.mean([ended[0] for *_, ended in weak]) <= 0.15
    furthest = [max(info["stage"] for info in infos) for _, infos, ended in weak if not ended[0]]
    assert all(furthest.count(stage) >= 2 for stage in (1, 2, 3))

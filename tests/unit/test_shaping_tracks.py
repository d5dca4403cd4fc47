"""What whole-episode schemes make of tracks: gates, contrasts and imitation weights."""

import numpy as np
import pytest

from robo_reward.shaping import contrasted, gated, imitation_weights
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack


def track(*phi, name="model"):
    values = np.array(phi, np.float32)
    return PhiTrack(name, values, np.ones_like(values))


def episode(*reward):
    steps, success = len(reward), sum(reward) > 0
    return make_episode(steps, success=success, reward=np.array(reward, np.float32))


def test_a_gate_opens_with_the_task_reward_and_names_its_own_tracks():
    phi = track(0.1, 0.6, 0.9)
    np.testing.assert_array_equal(gated(episode(0, 1), phi).phi, phi.phi)
    np.testing.assert_array_equal(gated(episode(0, 0), phi).phi, 0)
    assert gated(episode(0, 1), phi).model_id == gated(episode(0, 0), phi).model_id != phi.model_id


def test_contrast_is_a_half_between_two_goals_and_falls_where_another_one_is_nearer():
    found = contrasted(track(0.2, 0.5, 1.0), [track(0.2, 0.1, 0.0), track(0.1, 0.9, 0.0)])
    np.testing.assert_allclose(found.phi, [0.5, 0.3, 1.0], atol=1e-6)
    assert found.phi.dtype == np.float32 and found.model_id != "model"


def test_imitation_follows_the_progress_of_the_window():
    phi_BW = np.array([[0.1, 0.2, 0.4], [0.5, 0.3, 0.2], [0.2, 0.2, 0.2], [0.1, 0.9, np.nan], [0.1, 0.2, 0.4]])
    weight_B = imitation_weights(phi_BW, np.array([2, 2, 2, 1, 2]), np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    assert weight_B[0] == weight_B[3] == 1.0  # progress
    assert weight_B[1] == 0.0  # loss
    assert 0.0 < weight_B[2] < 1.0  # standing still
    assert weight_B[4] == 0.0  # not demonstrated
    assert imitation_weights(phi_BW, np.array([2, 2, 2, 1, 2]), np.zeros(5)) == pytest.approx(np.zeros(5))

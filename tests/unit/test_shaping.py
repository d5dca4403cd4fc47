"""What every shaping scheme owes the learner that calls it."""

import numpy as np
import pytest

from robo_reward.shaping import SCHEMES

GAMMA = 0.9


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_no_scheme_reads_past_a_shortened_window_or_writes_to_its_arguments(name):
    rng = np.random.default_rng(0)
    reward_B, phi_BW, terminated_B = rng.normal(size=4), rng.random((4, 4)), np.array([True, False, False, True])
    length_B = np.array([1, 2, 3, 2])
    expected = SCHEMES[name](reward_B, phi_BW, length_B, terminated_B, gamma=GAMMA)
    foreign_BW = np.where(np.arange(4) > length_B[:, None], np.nan, phi_BW)
    before = reward_B.copy()
    np.testing.assert_array_equal(SCHEMES[name](reward_B, foreign_BW, length_B, terminated_B, gamma=GAMMA), expected)
    np.testing.assert_array_equal(reward_B, before)


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_torch_tensors_give_what_numpy_arrays_give(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    window = (rng.normal(size=4), rng.random((4, 4)), np.array([1, 2, 3, 2]), np.array([True, False, False, True]))
    tensors = SCHEMES[name](*map(torch.as_tensor, window), gamma=GAMMA, scale=0.5)
    np.testing.assert_allclose(tensors.numpy(), SCHEMES[name](*window, gamma=GAMMA, scale=0.5), rtol=1e-6)

"""The trained policy as it is evaluated: what its dither is drawn from."""

import numpy as np
import pytest
from gymnasium.utils import seeding

pytest.importorskip("torch")

from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.acting import trained_actor
from robo_reward.testing.learners import ACTION, small_learner


def test_the_dither_repeats_and_is_not_the_noise_of_the_world_that_has_the_same_seed():
    first, again = (trained_actor(ZeroPolicy(ACTION), small_learner(), 7).rng.normal(size=400) for _ in range(2))
    world, _ = seeding.np_random(7)
    assert np.array_equal(first, again)
    assert not np.isin(first, world.normal(size=400)).any()

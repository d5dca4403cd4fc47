"""EPIC and STARC on cases worked out by hand and on what their definitions promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.progress.bench.distances import (
    canonical_reward,
    epic_distance,
    levelled_reward,
    pearson_distance,
    starc_distance,
)

STATES, ACTIONS, GAMMA = 6, 3, 0.9
SEEDS = st.integers(0, 10_000)


def table(r):
    """A tabular reward as a function of index triples."""
    return lambda s, a, n: r[s, a, n]


def everything():
    """All transitions of the tabular world, and all (state, action) pairs as samples."""
    s, a, n = (x.ravel() for x in np.meshgrid(range(STATES), range(ACTIONS), range(STATES), indexing="ij"))
    states, actions = (x.ravel() for x in np.meshgrid(range(STATES), range(ACTIONS), indexing="ij"))
    return (s, a, n), (states, actions)


def epic(one, other):
    return epic_distance(table(one), table(other), *everything(), GAMMA)


def shaping(rng):
    """gamma Phi(s') - Phi(s) of a random potential."""
    phi = rng.normal(size=STATES)
    return np.broadcast_to(GAMMA * phi[None, None] - phi[:, None, None], (STATES, ACTIONS, STATES))


def random_reward(seed):
    return np.random.default_rng(seed).normal(size=(STATES, ACTIONS, STATES))


def random_dynamics(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(STATES), size=(STATES, ACTIONS))


def test_canonical_shaping_by_hand():
    """Two states, one action, R = 1 for entering state 1 from state 0, gamma 1/2, both states sampled.

    E[R(0, A, S')] = 1/2, E[R(1, A, S')] = 0, their mean 1/4. So C(0, 1) = 1 + 0 - 1/2 - 1/8, C(0, 0) = 0 + 1/4 - 1/2
    - 1/8, C(1, 0) = 0 + 1/4 - 0 - 1/8 and C(1, 1) = 0 + 0 - 0 - 1/8.
    """
    r = np.array([[[0.0, 1.0]], [[0.0, 0.0]]])
    transitions = np.array([0, 0, 1, 1]), np.zeros(4, int), np.array([1, 0, 0, 1])
    found = canonical_reward(table(r), transitions, (np.array([0, 1]), np.zeros(2, int)), 0.5)
    assert found == pytest.approx([0.375, -0.375, 0.125, -0.125])


def test_pearson_distance_by_hand():
    assert pearson_distance(np.array([0, 1, 2.0]), np.array([1, 0, 2.0])) == pytest.approx(np.sqrt((1 - 0.5) / 2))
    assert pearson_distance(np.ones(3), np.full(3, 7.0)) == 0
    assert np.isnan(pearson_distance(np.ones(3), np.arange(3.0)))


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_epic_ignores_potentials_scale_and_constants(seed):
    rng, r = np.random.default_rng(seed + 1), random_reward(seed)
    assert epic(r, 2.5 * (r + shaping(rng)) + 3) < 1e-9
    assert epic(r, -r) == pytest.approx(1)


@given(SEEDS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_epic_of_a_few_samples_ignores_shaping_too(seed, drawn):
    """The samples need not cover the states: the same ones stand for S and S'."""
    rng, r = np.random.default_rng(drawn), random_reward(seed)
    transitions = tuple(rng.integers(n, size=40) for n in (STATES, ACTIONS, STATES))
    samples = rng.integers(STATES, size=3), rng.integers(ACTIONS, size=3)
    shaped = r + shaping(rng)
    assert epic_distance(table(r), table(shaped), transitions, samples, GAMMA) < 1e-9
    pure = canonical_reward(table(shaped - r), transitions, samples, GAMMA)
    assert np.abs(pure).max() < 1e-12


@given(SEEDS, SEEDS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_both_are_metrics_up_to_equivalence(a, b, c):
    r = [random_reward(seed) for seed in (a, b, c)]
    dynamics = random_dynamics(a)
    for d in (epic, lambda x, y: starc_distance(x, y, dynamics, GAMMA)):
        assert d(r[0], r[1]) == pytest.approx(d(r[1], r[0]))
        assert 0 <= d(r[0], r[2]) <= d(r[0], r[1]) + d(r[1], r[2]) + 1e-12
        assert d(r[0], r[2]) <= 1 + 1e-12


def test_epic_notices_undiscounted_differences_and_starc_too():
    """Phi(s') - Phi(s) is no potential shaping when gamma < 1."""
    r, phi = random_reward(3), 5 * np.arange(STATES, dtype=float)
    naive = r + phi[None, None] - phi[:, None, None]
    assert epic(r, naive) > 0.05
    assert starc_distance(r, naive, random_dynamics(3), GAMMA) > 0.05


def test_levelled_by_hand():
    """One state, two actions worth 1 and 0: V = 1/2 / (1 - 1/2) = 1, so the advantages are 1/2 and -1/2."""
    reward, dynamics = np.array([[[1.0], [0.0]]]), np.ones((1, 2, 1))
    assert levelled_reward(reward, dynamics, 0.5) == pytest.approx(np.array([[0.5, -0.5]]))


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_starc_ignores_shaping_scale_and_redistribution(seed):
    rng, r, dynamics = np.random.default_rng(seed + 1), random_reward(seed), random_dynamics(seed)
    moved = r + shaping(rng)
    # Paying the expected reward instead of the next state's own changes nothing for any policy.
    spread = np.broadcast_to((dynamics * r).sum(-1, keepdims=True), r.shape)
    for same in (moved, 0.3 * moved + 2, spread):
        assert starc_distance(r, same, dynamics, GAMMA) < 1e-9
    assert starc_distance(r, -r, dynamics, GAMMA) == pytest.approx(1)
    assert starc_distance(r, np.zeros_like(r), dynamics, GAMMA) == pytest.approx(0.5)


def test_starc_tells_rewards_with_other_optimal_policies_apart():
    """Actions 0 and 1 lead to states 0 and 1 for certain: pay for the one or for the other."""
    dynamics = np.zeros((2, 2, 2))
    dynamics[:, 0, 0] = dynamics[:, 1, 1] = 1
    left, right, both = np.zeros((3, 2, 2, 2))
    left[:, 0], right[:, 1], both[0, 1], both[1, 0] = 1, 1, 1, 1
    assert starc_distance(left, right, dynamics, GAMMA) == pytest.approx(1)  # left = 1 - right
    assert 0.1 < starc_distance(left, both, dynamics, GAMMA) < 0.9


def test_mistakes_are_answered_with_the_range():
    r, dynamics = random_reward(0), random_dynamics(0)
    transitions, samples = everything()
    with pytest.raises(ValueError, match="gamma=1.5 outside"):
        epic_distance(table(r), table(r), transitions, samples, 1.5)
    with pytest.raises(ValueError, match="at least 1"):
        epic_distance(table(r), table(r), transitions, (np.zeros(0, int), np.zeros(0, int)), GAMMA)
    with pytest.raises(ValueError, match="sum to 1"):
        starc_distance(r, r, 2 * dynamics, GAMMA)
    with pytest.raises(ValueError, match="same \\(S, A, S\\)"):
        starc_distance(r[:3], r[:3], dynamics, GAMMA)
    with pytest.raises(ValueError, match="gamma=1"):
        starc_distance(r, r, dynamics, 1)

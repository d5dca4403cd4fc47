"""How far two reward functions are apart, whatever potential shaping and scale they carry.

EPIC (Gleave et al., arXiv 2006.13900) needs only sampled transitions; STARC (Skalse et al., arXiv 2309.15257) needs
the dynamics, so it is for tabular worlds, where it bounds the regret that EPIC does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Reward = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""R(state, action, next state) of N triples, vectorised: (N,) values. States and actions are arrays whose rows the
caller chooses, indices for instance; any state may meet any other, so R must be defined on pairs that never happen."""


def epic_distance(
    first: Reward,
    second: Reward,
    transitions: tuple[np.ndarray, np.ndarray, np.ndarray],
    samples: tuple[np.ndarray, np.ndarray],
    gamma: float,
) -> float:
    """EPIC distance in [0, 1]: the Pearson distance of the two canonically shaped rewards.

    transitions: states, actions and next states, N each, weighing where the rewards are compared (N >= 2).
    samples: M states and M actions that stand for the distributions of the canonical shaping.
    Exactly 0 up to rounding for rewards that differ by potential shaping, a positive factor and a constant; 1 for
    opposite ones. NaN when one canonical reward is constant and the other is not: no angle to compare.
    Raises ValueError for gamma outside [0, 1] or without samples. Source: arXiv 2006.13900, definitions 4.2 and 4.7.
    """
    return pearson_distance(*(canonical_reward(r, transitions, samples, gamma) for r in (first, second)))


def canonical_reward(
    reward: Reward,
    transitions: tuple[np.ndarray, np.ndarray, np.ndarray],
    samples: tuple[np.ndarray, np.ndarray],
    gamma: float,
) -> Float[np.ndarray, "N"]:
    """C(R) = R(s, a, s') + E[gamma R(s', A, S') - R(s, A, S') - gamma R(S, A, S')] at N transitions.

    S and S' are drawn from the same M samples, so pure potential shaping becomes exactly 0, not just on average.
    See `epic_distance` for the arguments.
    """
    state, action, following = transitions
    states, actions = samples
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma={gamma} outside [0, 1]")
    if not len(states) or len(states) != len(actions):
        raise ValueError(f"{len(states)} sampled states and {len(actions)} actions: expected equal numbers, at least 1")

    def onwards(at: np.ndarray) -> np.ndarray:
        """E[R(s, A, S')] of each s."""
        total = np.zeros(len(at))
        for a, s in zip(actions, states, strict=True):
            total += reward(at, np.repeat(a[None], len(at), axis=0), np.repeat(s[None], len(at), axis=0))
        return total / len(states)

    shaped = gamma * onwards(following) - onwards(state) - gamma * onwards(states).mean()
    return np.asarray(reward(state, action, following) + shaped)


def pearson_distance(x: Float[np.ndarray, "N"], y: Float[np.ndarray, "N"]) -> float:
    """sqrt((1 - rho) / 2) in [0, 1]; 0 when both are constant, NaN when only one is."""
    x, y = x - x.mean(), y - y.mean()
    # Canonical shaping subtracts numbers of the rewards' size: what is left of a constant is rounding.
    flat = [np.abs(v).max(initial=0.0) < 1e-9 for v in (x, y)]
    if any(flat):
        return 0.0 if all(flat) else float("nan")
    # Half the distance of unit vectors: equals the formula, and does not lose half of the digits near rho = 1.
    return float(np.linalg.norm(x / np.linalg.norm(x) - y / np.linalg.norm(y)) / 2)


def starc_distance(
    first: Float[np.ndarray, "S A S"],
    second: Float[np.ndarray, "S A S"],
    dynamics: Float[np.ndarray, "S A S"],
    gamma: float,
) -> float:
    """STARC distance in [0, 1] of two tabular rewards: value-adjusted levelling, L2 norm, half the L2 distance.

    dynamics[s, a]: probabilities of the next state; gamma: discount in [0, 1). 0 exactly when the rewards order all
    policies alike, 1 when they order them oppositely, 1/2 against a reward that cares for nothing.
    Raises ValueError for wrong shapes, rows that are no probabilities, or gamma outside [0, 1).
    """
    one, other = (levelled_reward(r, dynamics, gamma) for r in (first, second))
    return float(np.linalg.norm(_unit(one, first) - _unit(other, second)) / 2)


def levelled_reward(
    reward: Float[np.ndarray, "S A S"], dynamics: Float[np.ndarray, "S A S"], gamma: float
) -> Float[np.ndarray, "S A"]:
    """Value-adjusted levelling: E[R(s, a, S') - V(s) + gamma V(S')] with V the value of the uniform policy.

    It is that policy's advantage: the same for all rewards that differ by potential shaping or by redistributing R over
    next states. Source: arXiv 2309.15257, definition of the VAL canonicalisation. See `starc_distance` for the errors.
    """
    states, actions = dynamics.shape[:2]
    if dynamics.shape != (states, actions, states) or reward.shape != dynamics.shape:
        raise ValueError(f"reward {reward.shape} and dynamics {dynamics.shape}: expected the same (S, A, S)")
    if (dynamics < 0).any() or not np.allclose(dynamics.sum(-1), 1):
        raise ValueError("dynamics: expected non-negative rows over next states that sum to 1")
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma={gamma} outside [0, 1)")
    expected = (dynamics * reward).sum(-1)
    value = np.linalg.solve(np.eye(states) - gamma * dynamics.mean(1), expected.mean(1))
    return expected - value[:, None] + gamma * dynamics @ value


def _unit(levelled: np.ndarray, reward: np.ndarray) -> np.ndarray:
    norm = float(np.linalg.norm(levelled))
    trivial = norm <= 1e-9 * max(float(np.abs(reward).max()), 1e-300)
    return np.zeros_like(levelled) if trivial else levelled / norm

"""Shaping schemes: functions of n-step windows, evaluated when a batch is sampled.

One batch uses the potentials of ONE reward model: two models mixed, or shaping dropped on some transitions, change the
optimal policy. Only arithmetic and indexing is used, so numpy arrays and torch tensors both work.

The learner's target is then `shaped_B + gamma ** length_B * (1 - terminated_B) * Q(s_{t+m}, a')`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Batch = Any
"""A numpy array or a torch tensor whose first axis is the batch."""


class Shaping(Protocol):
    """Turns the task's n-step return of B windows into the shaped n-step return.

    Args:
        reward_B: discounted task return of each window, sum of gamma^i r_{t+i} for i < m.
        phi_BW: potentials in [0, 1] of the observations t .. t+n, W = n + 1. Columns after a window's own length m
            are never read, so any padding will do.
        length_B: integer m in 1..n, the true length of a window that the end of its episode may have shortened.
        terminated_B: whether step t+m ended the task (success, failure). A time-out is NOT terminal.
        gamma: discount per step in (0, 1].
        scale: multiplies the potential; a scaled potential is still a potential.

    Returns:
        The shaped n-step return, (B,).
    """

    def __call__(
        self, reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
    ) -> Batch: ...


def none(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """The task reward alone (sparse). See `Shaping` for the arguments."""
    return reward_B


def potential(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """Policy-invariant: r + gamma^m Phi_{t+m} (1 - terminated) - Phi_t, so that Q* - Q*_shaped = Phi.

    The n single-step terms telescope into these two, and the potential of a terminal state is 0 whatever the reward
    model said about its picture. Source: Ng, Harada and Russell 1999; n-step form derived. See `Shaping`.
    """
    phi_end_B = phi_BW[range(len(phi_BW)), length_B]
    alive_B = 1.0 - terminated_B * 1.0  # a bool becomes 0 or 1, in numpy as in torch
    return reward_B + scale * (gamma**length_B * phi_end_B * alive_B - phi_BW[:, 0])


def naive(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """Undiscounted progress differences as rewards (VLAC, arXiv 2509.15937): r_i + Phi_{i+1} - Phi_i. NOT invariant.

    A trajectory earns -Phi_0 + (1 - gamma) sum gamma^(t-1) Phi_t + ..., which pays for loitering where Phi is high.
    A terminal state keeps its potential, as in the released systems. Here for comparison only. See `Shaping`.
    """
    return _step_by_step(reward_B, phi_BW[:, 1:] - phi_BW[:, :-1], length_B, gamma, scale)


def absolute(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """The progress reached as the reward of every step: r_i + Phi_{i+1}. NOT invariant: waiting is paid. See `Shaping`.

    What a success detector's or a foundation model's score is commonly used for.
    """
    return _step_by_step(reward_B, phi_BW[:, 1:], length_B, gamma, scale)


PAR_SLOPE = 20.0
"""Of the sigmoid of `par`: a step of a tenth of the task nearly saturates it."""


def par(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """Preference as reward: r_i + sigmoid(slope (Phi_{i+1} - Phi_i)) - 1/2, bounded and centred. NOT invariant.

    PAR (arXiv 2502.18770) squashes a reward, centred on a reference response's, so that large rewards cannot be
    hacked; here the reference of an observation is the one before it. Squashed differences no longer telescope: small
    steps forward and one jump back add up to a profit. See `Shaping`.
    """
    # tanh(x / 2) / 2 is the sigmoid less a half; numpy and torch name it differently.
    step_BN = PAR_SLOPE / 2 * (phi_BW[:, 1:] - phi_BW[:, :-1])
    squashed_BN = np.tanh(step_BN) if isinstance(step_BN, np.ndarray) else step_BN.tanh()
    return _step_by_step(reward_B, squashed_BN / 2, length_B, gamma, scale)


def contrast(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """Nearness to the goal less nearness to other goals as a reward: r_i + 2 Phi_{i+1} - 1. NOT invariant.

    Contrasting goals (VLM-RL, arXiv 2412.15544). Phi is that of `contrasted`: 1/2 where the own goal is no nearer than
    the others. See `Shaping`.
    """
    return _step_by_step(reward_B, 2.0 * phi_BW[:, 1:] - 1.0, length_B, gamma, scale)


def ra_bc(
    reward_B: Batch, phi_BW: Batch, length_B: Batch, terminated_B: Batch, *, gamma: float, scale: float = 1.0
) -> Batch:
    """The task reward alone: progress weighs the imitation term (`robo_reward.shaping.tracks.imitation_weights`)."""
    return reward_B


def _step_by_step(reward_B: Batch, step_BN: Batch, length_B: Batch, gamma: float, scale: float) -> Batch:
    """Add each step's own reward, discounted, as far as the window goes."""
    for i in range(step_BN.shape[1]):
        extra_B = step_BN[:, i] * 1.0  # a copy
        extra_B[~(length_B > i)] = 0.0  # assigned, not multiplied: padding may be NaN
        reward_B = reward_B + scale * gamma**i * extra_B
    return reward_B


SCHEMES: dict[str, Shaping] = {
    "none": none,
    "potential": potential,
    "naive": naive,
    "absolute": absolute,
    "par": par,
    "gated": naive,
    "contrast": contrast,
    "ra_bc": ra_bc,
}
"""Name in the configuration -> scheme. `gated` and `contrast` read the tracks of `robo_reward.shaping.tracks`."""
WHOLE_EPISODES = ("gated", "contrast", "ra_bc")
"""Those that need more than a step's two potentials."""

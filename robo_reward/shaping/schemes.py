"""Shaping schemes: functions of n-step windows, evaluated when a batch is sampled.

One batch uses the potentials of ONE reward model: two models mixed, or shaping dropped on some transitions, change the
optimal policy. Only arithmetic and indexing is used, so numpy arrays and torch tensors both work.

The learner's target is then `shaped_B + gamma ** length_B * (1 - terminated_B) * Q(s_{t+m}, a')`.
"""

from __future__ import annotations

from typing import Any, Protocol

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
    for i in range(phi_BW.shape[1] - 1):
        inside_B = length_B > i
        step_B = phi_BW[:, i + 1] - phi_BW[:, i]
        step_B[~inside_B] = 0.0  # assigned, not multiplied: padding may be NaN
        reward_B = reward_B + scale * gamma**i * step_B
    return reward_B


SCHEMES: dict[str, Shaping] = {"none": none, "potential": potential, "naive": naive}
"""Name in the configuration -> scheme."""

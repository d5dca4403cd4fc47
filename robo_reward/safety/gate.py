"""The action gate: what a requested end-effector delta becomes before it reaches an arm, simulated or real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class GateLimits:
    """Limits in the base frame; positions [m], rotation vectors relative to tool-down [rad]."""

    step: Float[np.ndarray, "6"]
    """Largest change of the target per action, the meaning of an action of 1."""
    low: Float[np.ndarray, "6"]
    high: Float[np.ndarray, "6"]
    """Workspace box of the target."""
    leash: Float[np.ndarray, "6"]
    """Largest distance of the target from the measured pose: with a stiffness K the force stays below K * leash."""


def check_action(action: np.ndarray, size: int) -> np.ndarray:
    """Return the action as float64 (size,), or raise ValueError: never clip a wrong or non-finite action silently."""
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (size,):
        raise ValueError(f"action has shape {action.shape}, expected ({size},)")
    if not np.isfinite(action).all():
        raise ValueError(f"action {action.tolist()} is not finite; every entry must lie in [-1, 1]")
    if np.abs(action).max() > 1 + 1e-6:
        raise ValueError(f"action {action.round(4).tolist()} lies outside [-1, 1]; clip it before stepping")
    return np.clip(action, -1.0, 1.0)


def gate_target(
    target: Float[np.ndarray, "6"], measured: Float[np.ndarray, "6"], delta: Float[np.ndarray, "6"], limits: GateLimits
) -> tuple[Float[np.ndarray, "6"], Float[np.ndarray, "6"], Bool[np.ndarray, "6"]]:
    """Next target pose, the executed action (in action units) and which axes were cut.

    The executed action is (target at the period's end - target at its start) / step: what is stored and learned from.
    """
    wanted = target + delta * limits.step
    allowed = np.clip(wanted, measured - limits.leash, measured + limits.leash)
    # The leash never pulls the target back further than one action could have moved it.
    allowed = np.clip(allowed, target - limits.step, target + limits.step)
    allowed = np.clip(allowed, limits.low, limits.high)
    executed = np.clip((allowed - target) / limits.step, -1.0, 1.0)
    return allowed, executed, np.abs(allowed - wanted) > 1e-9

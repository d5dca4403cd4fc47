"""The action gate: what a requested end-effector delta becomes before it reaches an arm, simulated or real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class GateLimits:
    """Limits in the base frame; positions [m], rotation vectors relative to tool-down [rad]."""

    step: Float[np.ndarray, "6"]
    """Largest distance of the target from the measured pose, the meaning of an action of 1. Under an impedance of
    stiffness K the static force stays below K * step."""
    low: Float[np.ndarray, "6"]
    high: Float[np.ndarray, "6"]
    """Workspace box of the target."""


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
    measured: Float[np.ndarray, "6"], delta: Float[np.ndarray, "6"], limits: GateLimits
) -> tuple[Float[np.ndarray, "6"], Float[np.ndarray, "6"], Bool[np.ndarray, "6"]]:
    """Target pose, the executed action (in action units) and which axes were cut.

    The target is the measured pose plus the requested delta, inside the workspace; the executed action is what was
    left of the delta: what is stored and learned from. An arm that was pushed out of the workspace is led back step
    by step, never with more than the force of one action.
    """
    wanted = measured + delta * limits.step
    inside = np.clip(wanted, limits.low, limits.high)
    target = np.clip(inside, measured - limits.step, measured + limits.step)
    executed = np.clip((target - measured) / limits.step, -1.0, 1.0)
    return target, executed, np.abs(target - wanted) > 1e-9

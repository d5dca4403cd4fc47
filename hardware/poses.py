"""Poses on the wire and in the gate: position and quaternion there, six numbers here.

The six are base-frame position [m] and rotation vector [rad] from tool-down, the convention of the simulated
environments, so that an action means the same on both. Quaternions are x y z w, as in ROS.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

TOOL_DOWN = (1.0, 0.0, 0.0, 0.0)
"""The flange looks down and its x axis along the base's: half a turn about x."""


def multiply(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    """The rotation `b` followed by `a`."""
    (ax, ay, az, aw), (bx, by, bz, bw) = a, b
    return np.array(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ]
    )


def to_axes(
    position: Float[np.ndarray, "3"], orientation: Float[np.ndarray, "4"], tool_down: tuple[float, ...] = TOOL_DOWN
) -> Float[np.ndarray, "6"]:
    """The six numbers of a pose; NaN in the rotation when the quaternion is not of unit length, so that it trips."""
    length = float(np.linalg.norm(orientation))
    if not abs(length - 1) < 0.01:  # also NaN
        return np.concatenate([position, np.full(3, np.nan)])
    x, y, z, w = tool_down
    turn = multiply(np.asarray(orientation) / length, np.array([-x, -y, -z, w]))
    turn = turn if turn[3] >= 0 else -turn
    sine = float(np.linalg.norm(turn[:3]))
    scale = 2.0 if sine < 1e-9 else 2 * np.arctan2(sine, turn[3]) / sine
    return np.concatenate([position, turn[:3] * scale])


def from_axes(
    axes: Float[np.ndarray, "6"], tool_down: tuple[float, ...] = TOOL_DOWN
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"]]:
    """Position and quaternion of six numbers; the inverse of `to_axes`."""
    angle = float(np.linalg.norm(axes[3:]))
    half = 0.5 if angle < 1e-9 else np.sin(angle / 2) / angle
    turn = np.array([*(axes[3:] * half), np.cos(angle / 2)])
    return np.array(axes[:3]), multiply(turn, np.array(tool_down))

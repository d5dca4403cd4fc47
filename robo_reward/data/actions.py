"""The one check that actions of another project must pass."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

TOLERANCE = 1e-5
"""Rounding beyond [-1, 1] that is cut off in silence [action units]."""


def unit_actions(action: np.ndarray, where: str) -> Float32[np.ndarray, "T A"]:
    """`action` as float32, two-dimensional, within [-1, 1].

    where: file and episode, for the message. Raises ValueError for another shape, a value that is not finite, or one
    beyond [-1, 1]: what unit such an action is in, only its owner knows.
    """
    action = np.asarray(action, np.float32)
    if action.ndim != 2 or action.shape[1] == 0:
        raise ValueError(f"{where}: actions have shape {action.shape}, expected (steps, numbers of one action)")
    if not np.isfinite(action).all():
        raise ValueError(f"{where}: an action is not finite: remove the episode")
    reach = np.abs(action).max(axis=0, initial=0.0)
    if reach.max() > 1 + TOLERANCE:
        column = int(reach.argmax())
        raise ValueError(
            f"{where}: actions reach {reach[column]:.4g} in column {column}, allowed is [-1, 1]: normalise them, e.g. "
            "divide each column by its largest magnitude over the whole dataset"
        )
    return np.clip(action, -1.0, 1.0)

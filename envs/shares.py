"""Shares of a stage that several tasks' oracle progress is made of."""

from __future__ import annotations

import numpy as np

_CLOSING = 0.4
"""Share of the stage of grasping that the closing of the fingers makes."""


def outside(sideways: float, height: float, to_the_side: float, above_or_below: float) -> float:
    """Distance [m] to the region around an object that reaches so far to the side, and above and below."""
    return float(np.hypot(max(sideways - to_the_side, 0.0), max(abs(height) - above_or_below, 0.0)))


def grasp_share(left: float, extent: float, closed: float) -> float:
    """Share of grasping: 0.6 the way until the fingers are around the object, then 0.4 their closing.

    Args:
        left: distance until the fingers are around it [m].
        extent: that distance where the stage begins [m].
        closed: how far the fingers are from open to closed on it, 0 to 1.
    """
    closing = float(np.clip(closed, 0.0, 1.0)) if left == 0.0 else 0.0
    return (1 - _CLOSING) * (1 - left / extent) + _CLOSING * closing


def oracle(stage: int, share: float, stages: int = 4) -> float:
    """Oracle progress in [0, 1]: of so many stages, those reached and the share of the next one."""
    return (stage + float(np.clip(share, 0.0, 1.0))) / stages

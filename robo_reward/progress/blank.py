"""Pictures that show nothing: a covered lens, a frame in one colour in place of a lost one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

SPREAD = 8
"""Levels of 255 that every channel of such a picture stays within; a camera's noise in the dark is larger."""


def shows_nothing(frames: UInt8[np.ndarray, "N H W 3"]) -> Bool[np.ndarray, "N"]:
    """Which of N pictures are of a single colour. What a model said of them would not come from the world."""
    found = _single_colour(frames[:, ::7, ::7])  # a few pixels tell most pictures
    if found.any():
        found[found] = _single_colour(frames[found])
    return found


def _single_colour(frames: np.ndarray) -> np.ndarray:
    pixels = frames.reshape(len(frames), -1, 3)
    flat: np.ndarray = (pixels.max(1) - pixels.min(1) <= SPREAD).all(1)
    return flat

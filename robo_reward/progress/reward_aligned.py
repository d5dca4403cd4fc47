"""Weights for reward-aligned behaviour cloning: imitate what made progress, and not what lost it.

Source: SARM, arXiv 2509.25358, eq 8 and 9, as LeRobot's trainer has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

SURE = 0.01
"""Progress over a chunk from which an observation counts fully (the paper's kappa)."""
_TINY = 1e-6


def chunk_gain(phi: Float32[np.ndarray, "L"], chunk: int) -> Float32[np.ndarray, "L"]:
    """Progress gained over the next `chunk` observations, in [-1, 1]; at the end, over those that are left.

    Raises ValueError when chunk < 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: expected at least 1 row")
    ahead = np.minimum(np.arange(len(phi)) + chunk, len(phi) - 1)
    return (phi[ahead] - phi).astype(np.float32)


def reward_aligned_weights(
    gains: Sequence[Float32[np.ndarray, "L"]], sure: float = SURE
) -> list[Float32[np.ndarray, "L"]]:
    """w = 1[r > k] + 1[0 <= r <= k] clip((r - (mu - 2 s)) / (4 s + e), 0, 1), in [0, 1].

    Args:
        gains: r of every episode, see `chunk_gain`; mu and s are its mean and standard deviation over all of them.
        sure: k.
    """
    if not gains:
        return []
    everything = np.concatenate(gains).astype(np.float64)
    mean, std = everything.mean(), everything.std()

    def weigh(gain: np.ndarray) -> np.ndarray:
        soft = np.clip((gain - (mean - 2 * std)) / (4 * std + _TINY), 0.0, 1.0)
        weight: np.ndarray = np.where(gain > sure, 1.0, np.where(gain >= 0, soft, 0.0))
        return weight.astype(np.float32)

    return [weigh(gain) for gain in gains]

"""What a learned policy sees of an observation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def policy_input(agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, columns: Sequence[int] | None = None) -> np.ndarray:
    """Proprioception and the noisy estimate, nothing privileged: float32 (..., P+E), or the chosen `columns` of it.

    A task names columns when absolute joint angles and places say nothing that the relative pose does not say better:
    with ten demonstrations a network learns them by heart instead.
    """
    joined = np.concatenate([agent_pos_BP, estimate_BE], axis=-1).astype(np.float32)
    return joined if columns is None else joined[..., list(columns)]

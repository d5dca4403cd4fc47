"""Hop: progress relative to what is left (forwards) or to what was reached (backwards).

Source: Robo-Dopamine (arXiv 2512.23703), equation 2 and its inverse. A hop of +0.5 covers half of the remaining way,
a hop of -0.5 loses half of what was reached, so no sequence of hops can leave [0, 1].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


def hop_from_potentials(phi_p: ArrayLike, phi_q: ArrayLike) -> Float[np.ndarray, "*shape"]:
    """Hop from a state with potential `phi_p` to one with `phi_q`.

    Args:
        phi_p: potential before, in [0, 1]; any shape that broadcasts with `phi_q`.
        phi_q: potential after, in [0, 1].

    Returns:
        float64 hop in [-1, 1]: (q - p) / (1 - p) when q >= p, else (q - p) / p; equal potentials (and so every zero
        denominator) give 0.

    Raises:
        ValueError: a potential outside [0, 1] or not finite.
    """
    p, q = np.broadcast_arrays(_checked("phi_p", phi_p, 0.0), _checked("phi_q", phi_q, 0.0))
    base = np.where(q >= p, 1.0 - p, p)
    return np.divide(q - p, base, out=np.zeros(p.shape), where=base > 0)[()]


def apply_hop(phi: ArrayLike, hop: ArrayLike) -> Float[np.ndarray, "*shape"]:
    """Potential reached by a hop: the inverse of `hop_from_potentials` in its second argument.

    Args:
        phi: potential before, in [0, 1]; any shape that broadcasts with `hop`.
        hop: relative progress in [-1, 1].

    Returns:
        float64 potential in [0, 1]: phi + hop (1 - phi) when hop >= 0, else phi (1 + hop).

    Raises:
        ValueError: a potential outside [0, 1], a hop outside [-1, 1], or either not finite.
    """
    phi, hop = _checked("phi", phi, 0.0), _checked("hop", hop, -1.0)
    # Rounding may overshoot 1 by one unit in the last place; sequences of hops must not accumulate that.
    return np.clip(np.where(hop >= 0, phi + hop * (1.0 - phi), phi * (1.0 + hop)), 0.0, 1.0)[()]


def _checked(name: str, values: ArrayLike, low: float) -> Float[np.ndarray, "*shape"]:
    array = np.asarray(values, dtype=np.float64)
    outside = ~((array >= low) & (array <= 1.0))  # NaN compares false, so it counts as outside
    if outside.any():
        raise ValueError(f"{name} holds {array[outside][0]}; allowed: finite values in [{low:g}, 1]; clip it first")
    return array

"""What a learned policy sees of an observation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def policy_input(agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, columns: Sequence[int] | None = None) -> np.ndarray:
    """Proprioception and the noisy estimate, nothing privileged: float32 (..., P+E), or the chosen `columns` of it.

    A task names columns when absolute joint angles and places say nothing that the relative pose does not say better:
    with ten demonstrations a network learns them by heart instead. Raises ValueError, naming the column, for a value
    that is not finite: actions are clipped, so a broken sensor would come out as a full-speed command.
    """
    joined = np.concatenate([agent_pos_BP, estimate_BE], axis=-1).astype(np.float32)
    chosen = joined if columns is None else joined[..., list(columns)]
    if not np.isfinite(chosen).all():
        raise ValueError(_not_finite(chosen, np.shape(agent_pos_BP)[-1], columns))
    return chosen


def split_columns(
    columns: Sequence[int] | None, agent_pos_size: int, estimate_size: int
) -> tuple[list[int], list[int]]:
    """`columns` as those of agent_pos and those of the estimate, each counted from its own start; None is all."""
    chosen = range(agent_pos_size + estimate_size) if columns is None else columns
    return [c for c in chosen if c < agent_pos_size], [c - agent_pos_size for c in chosen if c >= agent_pos_size]


def _not_finite(chosen: np.ndarray, agent_pos_size: int, columns: Sequence[int] | None) -> str:
    place = int(np.argwhere(~np.isfinite(chosen))[0, -1])
    column = place if columns is None else columns[place]
    name, index = ("agent_pos", column) if column < agent_pos_size else ("estimate", column - agent_pos_size)
    value = chosen[..., place][~np.isfinite(chosen[..., place])].flat[0]
    return f"policy input {name}[{index}] is {value}, expected a finite float32: check the sensor or the data behind it"

"""Does a method know which task it looks at: what it says of each video under each instruction, raw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

Table = Float[np.ndarray, "E C"]
"""Last value of each video under each of C instructions."""


def instruction_retrieval(table: Table, own: Int64[np.ndarray, "E"]) -> Float[np.ndarray, "E"]:
    """Of each video: 1 if its own instruction, number `own`, is the one that it scores highest under (top-1).

    Of several that tie for the highest, each gets its share.
    """
    best = np.isclose(table, table.max(axis=1, keepdims=True), atol=1e-9)
    return np.asarray(best[np.arange(len(own)), own] / best.sum(axis=1))


def video_retrieval(table: Table, own: Int64[np.ndarray, "E"]) -> Float[np.ndarray, "E"]:
    """Of each video: how often it is the highest under its own instruction among itself and a video of each other task.

    The mean over all choices of those other videos, so top-1 however many videos a task has; ties count 0.5. NaN where
    there are no videos of other tasks.
    """
    found = []
    for video, task in enumerate(own):
        gaps = [table[video, task] - table[own == other, task] for other in np.unique(own) if other != task]
        wins = [np.where(np.isclose(gap, 0, atol=1e-9), 0.5, gap > 0).mean() for gap in gaps]
        found.append(np.prod(wins) if wins else np.nan)
    return np.array(found)


def confusion_matrix(table: Table, own: Int64[np.ndarray, "E"], instructions: Sequence[str]) -> dict[str, Any]:
    """Mean last value by task of the video (row) and instruction (column); None for a task without videos."""
    rows = [table[own == task].mean(axis=0).round(4).tolist() if (own == task).any() else None
            for task in range(len(instructions))]  # fmt: skip
    return {"instructions": list(instructions), "values": rows}

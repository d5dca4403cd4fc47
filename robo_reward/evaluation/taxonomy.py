"""What became of an episode, read off its progress curve: done, or which kind of failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

SUCCESS, NEVER, DROPPED, TIMED_OUT, FAULT = "success", "never approached", "dropped", "timed out", "fault"
TAIL = 0.25
"""Share of an episode, its end, that tells whether it was still getting on."""


def outcome_of(progress: ArrayLike, success: bool, stages: int, fault: bool = False) -> str:
    """The class of one episode.

    `never approached`: the first stage was never reached. `dropped`: a stage's worth of progress or more was lost again
    for good. `stalled at stage k` (counted from 1): in its last quarter it gained less than a quarter of a stage.
    `timed out`: it was still getting on when the time was over. `fault`: the robot ended it.

    Args:
        progress: potential of every observation in [0, 1], (T+1,), each stage as much of it.
        success: whether the task was done.
        stages: of the task, at least 1.
        fault: whether it ended before its time without success.

    Raises:
        ValueError: an empty or not finite curve, or no stages.
    """
    curve = np.asarray(progress, dtype=np.float64)
    if curve.ndim != 1 or not len(curve) or not np.isfinite(curve).all() or stages < 1:
        raise ValueError(f"progress of shape {curve.shape} with {stages} stages; expected finite values in a row, >= 1")
    if success:
        return SUCCESS
    if fault:
        return FAULT
    stage = 1.0 / stages
    if curve.max() < stage:
        return NEVER
    if curve.max() - curve[-1] >= stage:
        return DROPPED
    tail = curve[-max(1, round(TAIL * len(curve))) :]
    if tail.max() - tail[0] < stage / 4:
        return f"stalled at stage {min(int(curve[-1] * stages), stages - 1) + 1}"
    return TIMED_OUT


def counted(outcomes: Iterable[str]) -> dict[str, int]:
    """Outcome -> number of episodes, success first, then by number."""
    counts = Counter(outcomes)
    return dict(sorted(counts.items(), key=lambda entry: (entry[0] != SUCCESS, -entry[1], entry[0])))

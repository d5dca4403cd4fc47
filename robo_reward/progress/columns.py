"""What a reward model says of an episode as columns, a value a row, for people who train by other means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from robo_reward.progress.annotate import QueryTrack
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.tracker import completion_score


@dataclass(frozen=True)
class ProgressColumns:
    """Values of an episode's L observations, held between queries. A value depends on no later observation."""

    progress: Float32[np.ndarray, "L"]
    """In [0, 1]."""
    confidence: Float32[np.ndarray, "L"]
    """In [0, 1]."""
    stage: Int64[np.ndarray, "L"]
    """Equal-mass steps that the progress has completed, 0 to N."""
    success: Bool[np.ndarray, "L"]
    """Whether the completion rule has called the task done by then, if only for a while."""


def columns_of(track: QueryTrack, stages: int, rule: CompletionRule) -> ProgressColumns:
    """The columns of an episode whose progress was followed.

    Args:
        track: the tracker's answers; its last step is the episode's last observation.
        stages: N, equal-mass steps of the whole task.
        rule: when the task is done. An episode's last observation is taken to stay, as in the rule's calibration.
    """
    progress = [p.phi for p in track.progress]
    done = np.logical_or.accumulate([p.completed for p in track.progress])
    done[-1] |= completion_score(track.progress[-1]) >= rule.threshold
    held = np.searchsorted(track.steps, np.arange(track.steps[-1] + 1), side="right") - 1
    phi = np.array(progress, np.float32)[held]
    return ProgressColumns(
        progress=phi,
        confidence=np.array([p.confidence for p in track.progress], np.float32)[held],
        stage=np.floor(phi * stages + 1e-4).astype(np.int64).clip(0, stages),
        success=done[held],
    )

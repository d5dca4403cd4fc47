"""The causal tracker of one episode: images in, hop questions out, answers in, progress out. No I/O, no model.

The same class serves live runs (one query at a time, batched over many trackers) and `annotate` (all queries at once),
so both give the same potentials.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.fusion import (
    FusionState,
    Perspectives,
    backward_value,
    forward_value,
    fusion,
    incremental_value,
    initial_state,
)
from robo_reward.progress.references import Reference, References
from robo_reward.types import HopEstimate, HopQuery, Progress

HOPS_PER_REFERENCE = 4
"""Rows of a query for each reference: increment, forward, backward, and start to goal."""


@dataclass(frozen=True)
class TrackerSettings:
    """How often to ask and how to fuse the answers."""

    every: int = 4
    """Environment steps between queries; the last observation of an episode is always queried."""
    fusion: str = "kalman"
    goal_like_start_below: float = 0.3
    """|H(start, goal)| under which forward and backward cannot tell done from not begun."""
    differences: bool = False
    """Whether the model answers plain differences of potential, not hops."""
    completion: CompletionRule = CompletionRule()

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"tracker.every={self.every}: expected at least 1 step")
        fusion(self.fusion)
        if not 0 <= self.goal_like_start_below <= 1:
            raise ValueError(f"tracker.goal_like_start_below={self.goal_like_start_below} outside [0, 1]")

    def digest(self) -> str:
        """Eight hex digits naming these settings."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


def std_from_confidence(confidence: float) -> float:
    """A confidence read as a standard deviation of the hop: 0 is uniform over [-1, 1] (0.577), 1 is certain (0)."""
    return (1.0 - min(max(confidence, 0.0), 1.0)) / 3**0.5


def confidence_from_std(std: np.ndarray) -> np.ndarray:
    """The inverse of `std_from_confidence`, in [0, 1]."""
    return np.clip(1.0 - np.asarray(std) * 3**0.5, 0.0, 1.0)


def queried_steps(length: int, every: int) -> list[int]:
    """Observation indices that a tracker queries in an episode of `length` actions: every k-th and the last."""
    steps = list(range(0, length + 1, every))
    return steps if steps[-1] == length else [*steps, length]


class ProgressTracker:
    """Follows one episode. `query` each observation, `apply` the answer; an invalid answer holds the last value."""

    def __init__(self, references: References, instruction: str, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.instruction = instruction
        self.reference: Reference = references[instruction]
        self.progress = Progress(0.0, False, 0.0, 0.0, 0.0, 0.0, answered=False)
        self._fuse = fusion(self.settings.fusion)
        self._state: FusionState | None = None
        self._previous: Mapping[str, np.ndarray] | None = None
        self._key = object()  # of the previous frame
        self._reference_keys = tuple(
            (self.reference, side, i) for side in ("start", "goal") for i in range(len(self.reference))
        )
        self._step = 0
        self._scores: list[float] = []

    @property
    def due(self) -> bool:
        """Whether the next observation is one to query, so that a caller can skip rendering the others."""
        return self._step % self.settings.every == 0

    def query(self, frames: Mapping[str, np.ndarray] | None, final: bool = False) -> HopQuery | None:
        """Count one observation; return its question when one is due (or it is the episode's `final` one).

        frames: view -> (H, W, 3) uint8, any subset of the references' views; may be None when no query is due.
        """
        due = self.due or final
        self._step += 1
        if not due:
            return None
        if not frames:
            raise ValueError("a query is due at this observation but no camera frames were given")
        views = [v for v in self.reference.start if v in frames]
        if not views:
            raise ValueError(
                f"cameras {sorted(frames)} share no view with the references' {sorted(self.reference.start)}"
            )
        previous, previous_key = self._previous or frames, self._key
        self._key = previous_key if self._previous is None else object()
        views = [v for v in views if v in previous]
        pool = {
            v: np.concatenate([self.reference.start[v], self.reference.goal[v], previous[v][None], frames[v][None]])
            for v in views
        }
        self._previous = dict(frames)
        k = len(self.reference)
        before, after, start, goal = hop_rows(k, np.array([2 * k]), np.array([2 * k + 1]))
        keys = (*self._reference_keys, previous_key, self._key)
        return HopQuery(pool, before, after, start, goal, (self.instruction,) * len(before), keys)

    def apply(self, estimate: HopEstimate) -> Progress:
        """Fuse the answer to the last query; rows without a valid answer are left out."""
        p = perspectives(estimate, self.settings)
        held, before = self.progress, self.progress.phi
        answered = not (p.hop is None and p.forward is None and p.backward is None)
        if self._state is None:
            self._state = initial_state(p, self.settings.fusion)
        elif answered:
            self._state = self._fuse(self._state, p)
        if self._state is None:
            return self.progress
        # No answer is no evidence of completion: the run of agreeing queries starts anew.
        if answered:
            f, b, i = forward_value(p), backward_value(p), incremental_value(before, p)
            self.progress = Progress(
                phi=self._state.phi,
                completed=False,
                confidence=_mean_confidence(estimate),
                incremental=held.incremental if i is None else i,
                forward=held.forward if f is None else f,
                backward=held.backward if b is None else b,
            )
            self._scores.append(completion_score(self.progress))
        else:
            self.progress = replace(held, completed=False, confidence=0.0, answered=False)
            self._scores.append(0.0)
        if self.settings.completion.completed(self._scores):
            self.progress = replace(self.progress, completed=True)
        return self.progress


def _mean_confidence(estimate: HopEstimate) -> float:
    """Mean over the answered questions about the current frame (start to goal is not one of them)."""
    rows = estimate.valid_B & (np.arange(len(estimate.hop_B)) % HOPS_PER_REFERENCE < HOPS_PER_REFERENCE - 1)
    return float(estimate.confidence_B[rows].mean())


def completion_score(progress: Progress) -> float:
    """All perspectives must agree that the task is done: the smallest of them."""
    return min(progress.phi, progress.forward, progress.backward)


def hop_rows(k: int, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns before, after, reference start, reference goal of the questions about n frames, (n * k * 4,) each.

    The pool begins with k reference starts and k goals; before, after: (n,) pool indices of the previous and the
    current frames. Row order: frame, then reference, then (increment, forward, backward, start to goal).
    """
    n = len(before)
    start, goal = np.broadcast_to(np.arange(k), (n, k)), np.broadcast_to(np.arange(k, 2 * k), (n, k))
    now, then = np.broadcast_to(after[:, None], (n, k)), np.broadcast_to(before[:, None], (n, k))
    rows_before = np.stack([then, start, goal, start], axis=-1)
    rows_after = np.stack([now, now, now, goal], axis=-1)
    starts, goals = (np.repeat(x[..., None], HOPS_PER_REFERENCE, axis=-1) for x in (start, goal))
    flat = [np.ascontiguousarray(x.reshape(-1), dtype=np.int64) for x in (rows_before, rows_after, starts, goals)]
    return flat[0], flat[1], flat[2], flat[3]


def perspectives(estimate: HopEstimate, settings: TrackerSettings) -> Perspectives:
    """Mean over the references of each question's valid answers."""
    hop = estimate.hop_B.reshape(-1, HOPS_PER_REFERENCE)
    confidence = estimate.confidence_B.reshape(-1, HOPS_PER_REFERENCE)
    valid = estimate.valid_B.reshape(-1, HOPS_PER_REFERENCE) & np.isfinite(hop)
    value: list[float | None] = []
    std = []
    for q in range(HOPS_PER_REFERENCE):
        rows = valid[:, q]
        value.append(float(np.clip(hop[rows, q], -1, 1).mean()) if rows.any() else None)
        std.append(std_from_confidence(float(confidence[rows, q].mean())) if rows.any() else 1.0)
    span = value[3]
    return Perspectives(
        value[0], value[1], value[2], std[0], std[1], std[2],
        goal_like_start=span is not None and abs(span) < settings.goal_like_start_below,
        differences=settings.differences,
    )  # fmt: skip

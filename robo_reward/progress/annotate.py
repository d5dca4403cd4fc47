"""The potential of every step of whole episodes: the causal tracker's answers, all questions in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.completion import CompletionRule, verdict
from robo_reward.progress.references import References
from robo_reward.progress.tracker import (
    HOPS_PER_REFERENCE,
    ProgressTracker,
    TrackerSettings,
    completion_score,
    hop_rows,
    queried_steps,
)
from robo_reward.types import Episode, HopEstimate, HopQuery, PhiTrack, Progress


@dataclass(frozen=True)
class QueryTrack:
    """The tracker's progress at each of an episode's Q queried observations."""

    steps: Int64[np.ndarray, "Q"]
    progress: tuple[Progress, ...]

    @property
    def phi(self) -> Float32[np.ndarray, "Q"]:
        """Fused potential at the queried observations."""
        return np.array([p.phi for p in self.progress], dtype=np.float32)

    @property
    def scores(self) -> list[float]:
        """Completion scores at the queried observations, in [0, 1]."""
        return [completion_score(p) for p in self.progress]

    def verdict(self, rule: CompletionRule) -> str:
        """`success`, `partial` or `failure`: what became of the whole episode."""
        return verdict(self.scores, self.progress[-1].phi, rule)


def track_id(model: ProcessRewardModel, settings: TrackerSettings, references: References) -> str:
    """Names model, tracker settings and references: equal ids give equal potentials."""
    return f"{model.model_id}-{settings.digest()}-{references.digest()}"


def annotate(
    episode: Episode, model: ProcessRewardModel, settings: TrackerSettings, references: References
) -> PhiTrack:
    """Potential of the episode's T+1 observations, held between queries: what its own tracker would have said live."""
    return annotate_many([episode], model, settings, references)[0]


def annotate_many(
    episodes: Sequence[Episode],
    model: ProcessRewardModel,
    settings: TrackerSettings,
    references: References,
    instruction: str | None = None,
) -> list[PhiTrack]:
    """`annotate` for several episodes with one batch of hop questions (see `track_many` for arguments and errors)."""
    name = track_id(model, settings, references)
    tracks = []
    for episode, track in zip(episodes, track_many(episodes, model, settings, references, instruction), strict=True):
        last = held(track.steps, len(episode))
        confidence = np.array([p.confidence for p in track.progress], dtype=np.float32)
        tracks.append(PhiTrack(name, track.phi[last], confidence[last]))
    return tracks


def track_many(
    episodes: Sequence[Episode],
    model: ProcessRewardModel,
    settings: TrackerSettings,
    references: References,
    instruction: str | None = None,
) -> list[QueryTrack]:
    """Progress at every queried observation of each episode; `instruction` overrides the episodes' own.

    Raises ValueError for an instruction without references, an episode that lacks a frame at a queried step, or
    cameras that share no view with the references.
    """
    queries, trackers, steps = [], [], []
    for episode in episodes:
        tracker = ProgressTracker(references, instruction or episode.instruction, settings)
        at = stored_at(episode, settings.every)
        queries.append(_episode_query(tracker, episode, at))
        trackers.append(tracker)
        steps.append(episode.frame_steps[at])
    if not queries:
        return []
    estimate = model.hop(join_queries(queries))
    found, row = [], 0
    for tracker, at in zip(trackers, steps, strict=True):
        width = HOPS_PER_REFERENCE * len(tracker.reference)
        progress = []
        for _ in at:
            part = slice(row, row + width)
            progress.append(
                tracker.apply(HopEstimate(estimate.hop_B[part], estimate.confidence_B[part], estimate.valid_B[part]))
            )
            row += width
        found.append(QueryTrack(at, tuple(progress)))
    return found


def held(steps: Int64[np.ndarray, "Q"], length: int) -> Int64[np.ndarray, "T+1"]:
    """For each of `length` + 1 observations, the position of the last queried one in `steps`."""
    return np.searchsorted(steps, np.arange(length + 1), side="right") - 1


def stored_at(episode: Episode, every: int) -> Int64[np.ndarray, "Q"]:
    """Positions, among the stored frames, of the observations that a reward model is asked about.

    Raises ValueError when one of them has no frame.
    """
    if not len(episode.frame_steps):
        raise ValueError(
            f"episode {episode.episode_id} stores no camera frames: give episodes that were recorded with cameras"
        )
    wanted = np.array(queried_steps(len(episode), every))
    if len(episode) % every and episode.frame_steps[-1] < len(episode):
        wanted = wanted[:-1]  # cut off by a crash, nobody looked at its end: the potential is held
    at = np.searchsorted(episode.frame_steps, wanted)
    missing = (at >= len(episode.frame_steps)) | (
        episode.frame_steps[np.minimum(at, len(episode.frame_steps) - 1)] != wanted
    )
    if missing.any():
        raise ValueError(
            f"episode {episode.episode_id} stores no frame at step {wanted[missing][0]}, which tracker.every={every} "
            "asks for: set tracker.every to the interval the episode was recorded with"
        )
    return at


def _episode_query(tracker: ProgressTracker, episode: Episode, at: np.ndarray) -> HopQuery:
    reference, k = tracker.reference, len(tracker.reference)
    views = [v for v in reference.start if v in episode.frames]
    if not views:
        raise ValueError(
            f"episode {episode.episode_id}: cameras {sorted(episode.frames)} share no view with the references' "
            f"{sorted(reference.start)}"
        )
    pool = {v: np.concatenate([reference.start[v], reference.goal[v], episode.frames[v][at]]) for v in views}
    now = np.arange(len(at)) + 2 * k
    before, after, start, goal = hop_rows(k, np.maximum(now - 1, 2 * k), now)
    return HopQuery(pool, before, after, start, goal, (tracker.instruction,) * len(before))


def join_queries(queries: Sequence[HopQuery]) -> HopQuery:
    """One query over the concatenated pools. ValueError for different cameras."""
    if len(queries) == 1:
        return queries[0]
    views = set(queries[0].frames)
    if any(set(q.frames) != views for q in queries):
        raise ValueError("episodes of one batch must have the same cameras; annotate the others on their own")
    offsets = np.cumsum([0] + [len(next(iter(q.frames.values()))) for q in queries])[:-1]

    def column(name: str) -> np.ndarray:
        columns = [getattr(q, name) for q in queries]
        return np.concatenate([np.where(c < 0, -1, c + o) for c, o in zip(columns, offsets, strict=True)])

    return HopQuery(
        {v: np.concatenate([q.frames[v] for q in queries]) for v in queries[0].frames},
        before_B=column("before_B"),
        after_B=column("after_B"),
        reference_start_B=column("reference_start_B"),
        reference_goal_B=column("reference_goal_B"),
        instruction_B=tuple(i for q in queries for i in q.instruction_B),
    )

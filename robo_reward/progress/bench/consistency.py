"""Do a hop model's answers agree with each other: there and back, by way of a third frame, at other intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from robo_reward.progress.annotate import stored_at, track_many
from robo_reward.progress.hop import apply_hop
from robo_reward.progress.references import Reference
from robo_reward.progress.reward_model import RewardModel
from robo_reward.types import Episode, HopQuery

TRIPLES = 16
"""Triples of frames that are asked about in each episode."""
STRIDES = (1, 2, 4)
"""Multiples of the tracker's interval between queries."""


def consistency(reward: RewardModel, episodes: Sequence[Episode], seed: int) -> dict[str, Float[np.ndarray, "E"]]:
    """Of each episode, all in units of progress; 0 for a perfect model, NaN where an episode is too short.

    round_trip_error: mean |p'' - p| when the tracker's potential p of a frame goes by the hop to another frame and by
    that frame's hop back. transitivity_residual: mean distance between where the hop a-c leads and where a-b and b-c
    lead. stride_spread: highest minus lowest final potential when asked at every, every second and every fourth of the
    tracker's queries.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"round_trip_error": [], "transitivity_residual": [], "stride_spread": []}
    for episode in episodes:
        round_trip, transitivity = _triples(reward, episode, rng)
        found["round_trip_error"].append(round_trip)
        found["transitivity_residual"].append(transitivity)
        found["stride_spread"].append(_stride_spread(reward, episode))
    return {name: np.array(values) for name, values in found.items()}


def _triples(reward: RewardModel, episode: Episode, rng: np.random.Generator) -> tuple[float, float]:
    at = stored_at(episode, reward.tracker.every)
    if len(at) < 3:
        return float("nan"), float("nan")
    (track,) = track_many([episode], reward.model, reward.tracker, reward.references)
    a, b, c = np.array([np.sort(rng.choice(len(at), 3, replace=False)) for _ in range(TRIPLES)]).T
    there, back, on, across = _hops(reward, episode, at, [(a, b), (b, a), (b, c), (a, c)])
    start = track.phi[a].astype(float)
    middle = apply_hop(start, there)
    by_way, direct = apply_hop(middle, on), apply_hop(start, across)
    return float(np.abs(apply_hop(middle, back) - start).mean()), float(np.abs(by_way - direct).mean())


def _hops(
    reward: RewardModel, episode: Episode, at: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """Answers for pairs of positions among the queried frames, against the first reference."""
    reference: Reference = reward.references[episode.instruction]
    views = [v for v in reference.start if v in episode.frames]
    pool = {v: np.concatenate([reference.start[v][:1], reference.goal[v][:1], episode.frames[v][at]]) for v in views}
    before, after = (np.concatenate([pair[side] for pair in pairs]) + 2 for side in (0, 1))
    zero = np.zeros(len(before), np.int64)
    query = HopQuery(pool, before, after, zero, zero + 1, (episode.instruction,) * len(before))
    hop = np.clip(reward.model.hop(query).hop_B.astype(float), -1, 1)
    return np.split(hop, len(pairs))


def _stride_spread(reward: RewardModel, episode: Episode) -> float:
    ends = []
    for stride in STRIDES:
        settings = replace(reward.tracker, every=reward.tracker.every * stride)
        (track,) = track_many([episode], reward.model, settings, reward.references)
        ends.append(float(track.phi[-1]))
    return max(ends) - min(ends)

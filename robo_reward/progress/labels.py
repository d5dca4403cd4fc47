"""Potentials of every observation from keyframes and outcomes alone (never from the simulator's distance).

Equal mass (Robo-Dopamine, arXiv 2512.23703, eq 1): N sub-tasks share the progress equally, whatever their length, and
progress is linear in time between two keyframes. Where keyframes do not fix the value (a failed attempt after the last
stage it reached, an excursion that came back the way it went) a label is an interval, not a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from robo_reward.types import UNKNOWN_STAGE, Episode


@dataclass(frozen=True)
class PotentialLabels:
    """What keyframes and outcome say about the potential of T+1 observations: low <= phi <= high, all in [0, 1].

    `phi` is the best single guess; the label is exact where low == high.
    """

    phi: Float32[np.ndarray, "T+1"]
    low: Float32[np.ndarray, "T+1"]
    high: Float32[np.ndarray, "T+1"]

    def __len__(self) -> int:
        return len(self.phi)


def potentials_from_keyframes(
    keyframes: Sequence[int], length: int, stages: int | None = None
) -> Float32[np.ndarray, "length"]:
    """Equal-mass potential of `length` observations, linear in time between keyframes.

    keyframes: observation indices K_0..K_n, increasing, K_0 the start; stages: N sub-tasks of the whole task (default
    n). With n < N (a failure) the value is held at n/N after the last keyframe. Before K_0 it is 0.
    Raises ValueError for keyframes outside the episode, out of order or too many.
    Source: arXiv 2512.23703 eq 1, in the limit of one sampled state per frame.
    """
    keys = np.asarray(keyframes, dtype=np.int64)
    if keys.ndim != 1 or len(keys) == 0:
        raise ValueError(f"keyframes {list(keyframes)!r}: expected at least the start, e.g. [0, 12, 40]")
    if keys.min() < 0 or keys.max() >= length:
        raise ValueError(f"keyframes {keys.tolist()} outside the episode: expected indices within [0, {length - 1}]")
    if np.any(np.diff(keys) < 0):
        raise ValueError(f"keyframes {keys.tolist()} are out of order: expected non-decreasing indices")
    total = len(keys) - 1 if stages is None else stages
    if total < max(1, len(keys) - 1):
        raise ValueError(f"{len(keys) - 1} keyframes after the start, but the task has {total} stages")
    # Keyframes may share an observation (two stages reached within one step): the later one wins there.
    last = np.append(np.diff(keys) > 0, True)
    value = np.arange(len(keys)) / total
    return np.interp(np.arange(length), keys[last], value[last]).astype(np.float32)


def keyframes_from_stages(stage: Int64[np.ndarray, "T+1"]) -> tuple[int, ...]:
    """(0, first observation with stage >= 1, with stage >= 2, ...) as far as the episode got."""
    reached = np.maximum.accumulate(np.asarray(stage))
    return (0, *(int(np.argmax(reached >= k)) for k in range(1, int(reached[-1]) + 1)))


def labels_from_stages(stage: Int64[np.ndarray, "T+1"], stages: int) -> PotentialLabels:
    """Labels from the stage predicate of every observation, regressions included.

    stage: number of stages reached by the current state, 0..stages. Every crossing of a stage boundary is a keyframe:
    a run of stage s lies in [s/N, (s+1)/N], its ends are known where it was entered or left, and it is linear in time
    between a lower and an upper crossing. A run that leaves where it came from, and the run that an episode ends in,
    are known only as that interval.
    """
    stage = np.asarray(stage, dtype=np.int64)
    if stages < 1 or stage.min() < 0 or stage.max() > stages:
        raise ValueError(f"stage values {stage.min()}..{stage.max()} outside [0, {stages}]")
    starts = np.flatnonzero(np.diff(stage, prepend=-1) != 0)
    ends = np.append(starts[1:], len(stage))
    low = stage / stages
    high = np.minimum(stage + 1, stages) / stages
    phi = low.copy()
    for i, (begin, end) in enumerate(zip(starts, ends, strict=True)):
        s = stage[begin]
        if s == stages:
            continue
        from_below = i == 0 or stage[begin - 1] < s
        entry = (s if from_below else s + 1) / stages
        if end == len(stage):
            phi[begin:end] = entry
            high[begin] = low[begin] if from_below else high[begin]
            continue
        exit_up = stage[end] > s
        phi[begin:end] = np.interp(np.arange(begin, end), [begin, end], [entry, (s + exit_up) / stages])
        if exit_up == from_below:
            low[begin:end] = high[begin:end] = phi[begin:end]
    return PotentialLabels(phi.astype(np.float32), low.astype(np.float32), high.astype(np.float32))


def labels_from_keyframes(keyframes: Sequence[int], length: int, stages: int, success: bool) -> PotentialLabels:
    """Labels from keyframes K_0..K_n that a person set or a method found, and the outcome.

    A success has done everything by its last keyframe, so its n sub-tasks are the whole task, whatever `stages` says;
    a failure is an interval after its last keyframe, of `stages` sub-tasks in all.
    """
    phi = potentials_from_keyframes(keyframes, length, None if success else stages)
    low, high = phi.copy(), phi.copy()
    if not success:
        reached = len(keyframes) - 1
        if reached >= stages:
            raise ValueError(f"a failed episode with all {stages} stages reached: correct the outcome or the keyframes")
        high[int(keyframes[-1]) + 1 :] = (reached + 1) / stages
    return PotentialLabels(phi, low, high)


def labels_from_outcome(length: int, success: bool) -> PotentialLabels:
    """Labels of `length` observations without stages or keyframes: the whole task is one sub-task.

    A success is then linear in time from 0 to 1. Of a failure only the start is known.
    """
    if success:
        phi = potentials_from_keyframes((0, length - 1), length)
        return PotentialLabels(phi, phi, phi)
    return labels_from_keyframes((0,), length, 1, success)


def label_episode(episode: Episode, stages: int, keyframes: Sequence[int] | None = None) -> PotentialLabels:
    """Labels of an episode's T+1 observations: from `keyframes` when given (a file), else from its stage predicates,
    else, where nobody told the stages, from the outcome alone."""
    if keyframes is not None:
        return labels_from_keyframes(keyframes, len(episode) + 1, stages, episode.success)
    if (episode.stage == UNKNOWN_STAGE).all():
        return labels_from_outcome(len(episode) + 1, episode.success)
    return labels_from_stages(episode.stage, stages)

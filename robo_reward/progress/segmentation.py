"""Keyframes without a person or a simulator: where the video turns, where the arm touches, where the scene changes.

Every method returns the inner boundaries of an episode, increasing, each the first frame of a new segment: never the
first frame, never the last one. Where nothing tells segments apart (one or two frames, a still video, a constant
signal) there are none. All are deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from robo_reward.types import Frames

PIXEL_NOISE = 0.02
"""Deviation, of a pixel's range, that counts as noise: below it a pixel is not blown up to the size of the others."""


@dataclass(frozen=True)
class EventSignal:
    """A column of `agent_pos` that tells of events.

    `contact`: it departs from its value at the start by `threshold` or more, in either direction (the contact begins),
    and comes back (it ends). `gripper`: it crosses `threshold` downwards (closing) or upwards (opening).
    """

    column: int
    kind: Literal["contact", "gripper"]
    threshold: float
    """In the column's own unit."""
    slack: float = 0.0
    """Hysteresis: an event ends only once the signal is so far back beyond the threshold; 0 for none."""


def pixel_embedding(frames: Frames, side: int = 12) -> Float32[np.ndarray, "N F"]:
    """The frames of all views as rows: averaged down to side x side blocks, each pixel standardised over the frames.

    Raises ValueError without views.
    """
    if not frames:
        raise ValueError("an embedding of pixels needs at least one camera view")
    rows = []
    for view in sorted(frames):
        pixels = np.asarray(frames[view])
        for axis in (1, 2):
            count = pixels.shape[axis]
            cuts = np.unique(np.arange(side) * count // side)
            widths = np.diff(np.append(cuts, count)).astype(np.float32)
            shape = [1] * 4
            shape[axis] = len(cuts)
            pixels = np.add.reduceat(pixels, cuts, axis=axis, dtype=np.float32) / widths.reshape(shape)
        flat = pixels.reshape(len(pixels), -1) / 255.0
        flat = flat - flat[:1]  # what is still is 0 to the last bit
        rows.append((flat - flat.mean(0)) / (flat.std(0) + PIXEL_NOISE))
    return np.concatenate(rows, axis=1).astype(np.float32)


def uvd_keyframes(
    embedding: Float32[np.ndarray, "N F"], *, apart: int = 5, smooth: float = 1.0, rise: float = 0.02
) -> tuple[int, ...]:
    """Frames from which the way to the next keyframe starts, found from the episode's end backwards.

    Towards a segment's end the embedding should come nearer and nearer; the last local maximum of its distance to that
    end is where the segment began. There the next one, before it, ends.
    apart: least length of a segment [frames]; smooth: standard deviation of the Gaussian over the distances [frames];
    rise: how far the distance must have climbed to that maximum, as a share of the segment's largest one.
    Raises ValueError for values that are not finite, or apart below 1.
    Source: UVD, arXiv 2310.08581.
    """
    rows = _checked(embedding)
    _at_least_one("apart", apart)
    found: list[int] = []
    end = len(rows) - 1
    while end > apart:
        distance = _smoothed(np.linalg.norm(rows[: end + 1] - rows[end], axis=1), smooth)
        begin = _last_maximum(distance, end - apart, rise)
        if begin is None or begin < apart:
            break
        found.append(begin)
        end = begin
    return tuple(reversed(found))


def event_keyframes(
    agent_pos: Float32[np.ndarray, "N P"], signals: Sequence[EventSignal], *, hold: int = 2, apart: int = 5
) -> tuple[int, ...]:
    """First frames in and after contacts, of closings and of openings.

    hold: an event lasts at least so many frames, and so does the pause after it [frames]; apart: of events nearer than
    this, of whatever signal, only the first counts [frames]. The end of a contact counts with its beginning, however
    short it was: a peg that finds its hole soon has found it too.
    Raises ValueError for a column that is not there, values that are not finite, or hold or apart below 1.
    """
    rows = _checked(agent_pos)
    _at_least_one("hold", hold)
    _at_least_one("apart", apart)
    changes: list[tuple[int, int, bool]] = []  # frame, signal, whether a contact ends there
    for number, signal in enumerate(signals if len(rows) > 2 else ()):
        if not 0 <= signal.column < rows.shape[1]:
            raise ValueError(f"event column {signal.column} outside agent_pos: expected 0 to {rows.shape[1] - 1}")
        values = rows[:, signal.column]
        if signal.kind == "contact":
            away = np.abs(values - np.median(values[:hold]))
            on = _switched(away, signal.threshold, signal.threshold - signal.slack)
        else:
            on = _switched(values, signal.threshold + signal.slack, signal.threshold - signal.slack)
        held = _held(on, hold)
        at = np.flatnonzero(np.diff(held.astype(np.int8))) + 1
        changes += [(int(t), number, signal.kind == "contact" and not held[t]) for t in at if t < len(rows) - 1]
    found: list[int] = []
    begun: set[int] = set()
    for frame, number, ends in sorted(changes):
        counts = number in begun if ends else not found or frame - found[-1] >= apart
        if counts and not ends:
            begun.add(number)
        else:
            begun.discard(number)
        if counts and frame not in found[-1:]:
            found.append(frame)
    return tuple(found)


def variance_keyframes(
    demonstrations: Sequence[Float32[np.ndarray, "_ F"]], segments: int, *, apart: int = 3
) -> list[tuple[int, ...]]:
    """Each demonstration in the same number of segments, of the least variance inside them, summed over all.

    segments: N, for all demonstrations; apart: least length of a segment [frames]. A demonstration that is still, or
    too short for N segments, has no boundaries.
    Raises ValueError for values that are not finite, or segments or apart below 1.
    Source: unsupervised perceptual rewards, arXiv 1612.06699; dynamic programming in place of its recursive splits.
    """
    _at_least_one("segments", segments)
    _at_least_one("apart", apart)
    return [_least_variance(_checked(rows), segments, apart) for rows in demonstrations]


def _least_variance(rows: Float64[np.ndarray, "N F"], segments: int, apart: int) -> tuple[int, ...]:
    length = len(rows)
    rows = rows - rows.mean(0) if length else rows
    if segments == 1 or not np.any(np.abs(rows) > 1e-9):
        return ()
    # Squared distance of rows i..j-1 from their mean, from sums over the Gram matrix: free of the feature count.
    square = np.zeros((length + 1, length + 1))
    square[1:, 1:] = (rows @ rows.T).cumsum(0).cumsum(1)
    own = np.append(0.0, np.einsum("nf,nf->n", rows, rows).cumsum())
    i, j = np.arange(length + 1)[:, None], np.arange(length + 1)[None]
    block = square[j, j] - square[i, j] - square[j, i] + square[i, i]
    cost = np.where(j - i >= apart, own[j] - own[i] - block / np.maximum(j - i, 1), np.inf)
    cost[length - 1, length] = np.inf  # the last frame alone is no segment
    best = cost[0]
    cuts = []
    for _ in range(segments - 1):
        total = best[:, None] + cost
        cuts.append(total.argmin(0))
        best = total.min(0)
    if not np.isfinite(best[length]):  # too short
        return ()
    boundaries, end = [], length
    for cut in reversed(cuts):
        end = int(cut[end])
        boundaries.append(end)
    return tuple(reversed(boundaries))


def _last_maximum(distance: Float64[np.ndarray, "M"], latest: int, rise: float) -> int | None:
    """The last local maximum in 1..latest to which the distance climbed; the middle of a plateau."""
    least = rise * distance.max()
    for t in range(len(distance) - 2, 0, -1):
        if not distance[t] > distance[t + 1]:
            continue
        first = t
        while first > 0 and distance[first - 1] == distance[t]:
            first -= 1
        if first == 0 or distance[first - 1] > distance[t]:
            continue
        middle = (first + t) // 2
        if middle <= latest and distance[t] - _dip_before(distance, first) > least:
            return middle
    return None


def _dip_before(distance: Float64[np.ndarray, "M"], at: int) -> float:
    """The lowest distance between `at` and the last frame before it that lies higher."""
    higher = np.flatnonzero(distance[:at] > distance[at])
    return float(distance[higher[-1] + 1 if len(higher) else 0 : at + 1].min())


def _smoothed(values: Float64[np.ndarray, "M"], width: float) -> Float64[np.ndarray, "M"]:
    """A Gaussian average whose weights are renewed at the ends, so that a constant stays one."""
    if width <= 0:
        return values
    reach = np.arange(-int(3 * width), int(3 * width) + 1)
    kernel = np.exp(-0.5 * (reach / width) ** 2)

    def over(array: Float64[np.ndarray, "M"]) -> Float64[np.ndarray, "M"]:
        return np.convolve(array, kernel)[len(reach) // 2 :][: len(array)]

    return over(values) / over(np.ones(len(values)))


def _switched(values: Float64[np.ndarray, "N"], on_at: float, off_below: float) -> Bool[np.ndarray, "N"]:
    """A switch with hysteresis: on from `on_at`, off below `off_below`."""
    state = len(values) > 0 and values[0] >= (on_at + off_below) / 2
    out = np.zeros(len(values), bool)
    for t, value in enumerate(values):
        state = value >= (off_below if state else on_at)
        out[t] = state
    return out


def _held(on: Bool[np.ndarray, "N"], hold: int) -> Bool[np.ndarray, "N"]:
    """The switch without states shorter than `hold` frames: each takes on the state before it; the first one stays."""
    out = on.copy()
    edges = [0, *(np.flatnonzero(np.diff(on.astype(np.int8))) + 1).tolist(), len(on)]
    for begin, end in pairwise(edges):
        if 0 < begin and end - begin < hold:
            out[begin:end] = out[begin - 1]
    return out


def _checked(rows: np.ndarray) -> Float64[np.ndarray, "N F"]:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"an episode's rows have shape {rows.shape}: expected (frames, features)")
    if not np.isfinite(rows).all():
        raise ValueError("an episode's rows hold a value that is not finite: remove the episode or repair its data")
    return rows


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value}: must be >= 1")

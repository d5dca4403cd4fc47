"""How well automatic keyframes agree with true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def matched(found: Sequence[int], true: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs (found, true) of a one-to-one assignment in order, as many as there can be, nearest on the whole."""
    if len(found) > len(true):
        return [(a, b) for b, a in matched(true, found)]
    cost = np.zeros(len(true) + 1)  # of matching what came so far within the first j true ones
    taken = []
    for key in found:
        taken.append(cost[:-1] + np.abs(np.asarray(true) - key))
        cost = np.append(np.inf, np.minimum.accumulate(taken[-1]))
    pairs, j = [], len(true)
    for key, costs in zip(reversed(found), reversed(taken), strict=True):
        j = int(np.argmin(costs[:j]))
        pairs.append((int(key), int(true[j])))
    return pairs[::-1]


def agreement(found: Mapping[str, Sequence[int]], true: Mapping[str, Sequence[int]], near: int = 5) -> dict[str, float]:
    """How well automatic keyframes agree with true ones, over the episodes of `true`; empty without any.

    found, true: episode id -> inner keyframes [steps]. Returns, as flat numbers: the episodes; inner keyframes found
    and true, a mean an episode; the median absolute error of matched ones [steps], absent where none is; the share of
    the true ones with a match within `near` steps.
    """
    if not true:
        return {}
    pairs = [pair for name, keys in true.items() for pair in matched(found.get(name, ()), keys)]
    errors = np.array([abs(a - b) for a, b in pairs], np.float64)
    count = sum(len(keys) for keys in true.values())
    numbers = {
        "episodes": len(true),
        "found": sum(len(found.get(name, ())) for name in true) / len(true),
        "true": count / len(true),
    }
    if len(errors):
        numbers["median_error_steps"] = float(np.median(errors))
    if count:
        numbers[f"within_{near}_steps"] = float((errors <= near).sum() / count)
    return numbers


def even_keyframes(count: int, steps: int) -> tuple[int, ...]:
    """`count` inner keyframes that cut an episode of `steps` steps into equal parts: a control that sees nothing."""
    return tuple(round(steps * (k + 1) / (count + 1)) for k in range(count))

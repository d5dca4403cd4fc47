"""Which of two policies is better, from paired outcomes, looked at several times without losing the error.

A group-sequential exact test of two paired proportions. At each look the statistic is McNemar's (wins - losses) /
sqrt(wins + losses) over the pairs so far, and the share of the error that Kim and DeMets' power family allows until
then (1987, Biometrika 74:149, exponent 4) is spent there (Lan and DeMets 1983, Biometrika 70:659). Critical values are
not those of a normal limit: they hold for the exact trinomial distribution at every rate of discordant pairs (Suissa
and Shuster 1991, Biometrics 47:361, for one look), found by carrying the distribution from pair to pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from robo_reward.evaluation.statistics import Interval

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
_SPENDING = 4.0
_DISCORDANT = np.concatenate([np.geomspace(0.003, 0.1, 12), np.linspace(0.13, 1.0, 20)])
"""Rates of discordant pairs at which the error is held; between two of them it changes by less than a thousandth."""
MOST = 200
"""Pairs of a test: the distribution that is carried from pair to pair grows with their square."""
_DECIMALS = 9
"""Of a statistic, so that equal ones compare as equal; unequal ones differ by more than a millionth."""


@dataclass(frozen=True)
class SequentialTest:
    """When to look, and how large the statistic has to be then."""

    looks: tuple[int, ...]
    """Pairs at each look, increasing; the last is the most that are run."""
    critical: tuple[float, ...]
    """The statistic's critical value at each look; infinite where nothing can be decided yet."""
    error: float
    """Of calling the second policy better though it is not; and, as much again, worse though it is not."""


@dataclass(frozen=True)
class Decision:
    """What paired outcomes say so far."""

    verdict: str
    """Of the second policy: `BETTER`, `WORSE` or `UNDECIDED`."""
    pairs: int
    """Those it was reached with, or all so far."""
    done: bool
    """Whether no more pairs are to be run."""
    difference: Interval
    """Repeated confidence interval of success(second) - success(first) at level 1 - 2 error; exact in whether it
    leaves out 0, which is when the verdict is reached, and approximate in its width (Jennison and Turnbull 1989)."""


@cache
def design(pairs: int, looks: int = 1, error: float = 0.05) -> SequentialTest:
    """The test of at most `pairs` pairs with `looks` looks, evenly spread.

    Raises:
        ValueError: numbers outside their ranges.
    """
    if not 1 <= pairs <= MOST:
        raise ValueError(f"{pairs} pairs; allowed: 1 to {MOST}")
    if not 1 <= looks <= pairs:
        raise ValueError(f"{looks} looks at {pairs} pairs; allowed: 1 to the number of pairs")
    if not 0 < error < 0.5:
        raise ValueError(f"error is {error}; allowed: above 0, below .5, for example 0.05")
    at = tuple(math.ceil(pairs * (k + 1) / looks) for k in range(looks))
    half = _DISCORDANT / 2
    alive = _start(len(half), pairs)
    statistic = _statistic(pairs)
    order = np.argsort(-statistic, axis=None, kind="stable")
    values = statistic.ravel()[order]
    ends = np.append(values[1:] < values[:-1], True)  # equal statistics are decided alike
    spent, critical, done = np.zeros(len(half)), [], 0
    for number, look in enumerate(at):
        alive = _carry(alive, done, look, half, half)
        done = look
        tail = spent[:, None] + np.cumsum(alive.reshape(len(half), -1)[:, order], axis=1)
        allowed = ends & (tail.max(0) <= error * ((number + 1) / looks) ** _SPENDING) & (values > 0)
        reached = np.flatnonzero(allowed)
        # Half a rounding step below the outcome that attains it, which then passes unrounded too.
        bound = float(values[reached[-1]]) - 0.5 * 10**-_DECIMALS if len(reached) else math.inf
        critical.append(bound)
        out = statistic >= bound
        spent += alive[:, out].sum(1)
        alive[:, out] = 0.0
    return SequentialTest(at, tuple(critical), error)


def decide(first: Sequence[bool], second: Sequence[bool], test: SequentialTest) -> Decision:
    """The verdict at the first look that reaches one, or what there is to say by now.

    Args:
        first: success of the first policy from each initial state, in the order in which the pairs were run.
        second: success of the second policy from the same states.
        test: from `design`.

    Raises:
        ValueError: rows of different lengths, or longer than the test.
    """
    if len(first) != len(second) or len(first) > test.looks[-1]:
        raise ValueError(f"{len(first)} and {len(second)} outcomes; allowed: equal numbers up to {test.looks[-1]}")
    shown = Interval(-1.0, 1.0)
    for look, critical in zip(test.looks, test.critical, strict=True):
        if look > len(first):
            break
        wins = sum(b and not a for a, b in zip(first[:look], second[:look], strict=True))
        losses = sum(a and not b for a, b in zip(first[:look], second[:look], strict=True))
        gain, half = (wins - losses) / look, critical * math.sqrt(wins + losses) / look
        if wins + losses and math.isfinite(critical):
            shown = Interval(max(-1.0, gain - half), min(1.0, gain + half))
            if abs(wins - losses) / math.sqrt(wins + losses) >= critical:
                return Decision(BETTER if gain > 0 else WORSE, look, True, shown)
    return Decision(UNDECIDED, len(first), len(first) == test.looks[-1], shown)


def power(test: SequentialTest, first: float, second: float, both: float | None = None) -> tuple[float, float]:
    """How often the test calls the second policy better, and how many pairs it takes on average, exactly.

    Args:
        test: from `design`.
        first, second: success rates in [0, 1].
        both: share of initial states from which both succeed; None: as if the outcomes were independent.

    Raises:
        ValueError: rates that no pair of policies can have.
    """
    both = first * second if both is None else both
    if not max(0.0, first + second - 1) - 1e-12 <= both <= min(first, second) + 1e-12 or not 0 <= first <= 1:
        raise ValueError(f"success rates {first} and {second} with both succeeding in {both}: no such pair exists")
    alive = _start(1, test.looks[-1])
    statistic = _statistic(test.looks[-1])
    found, expected, done = 0.0, 0.0, 0
    for look, critical in zip(test.looks, test.critical, strict=True):
        expected += (look - done) * float(alive.sum())
        alive = _carry(alive, done, look, np.array([second - both]), np.array([first - both]))
        found += float(alive[0][statistic >= critical].sum())
        alive[0][np.abs(statistic) >= critical] = 0.0
        done = look
    return found, expected


def plan(first: float, second: float, looks: int = 4, error: float = 0.05, wanted: float = 0.8) -> SequentialTest:
    """The smallest test that a bisection finds to have the wanted power; outcomes are taken as independent.

    Args:
        first, second: success rates in [0, 1], second above first.
        looks: the test's looks.
        error: the test's error.
        wanted: power in (0, 1).

    Raises:
        ValueError: rates in the wrong order, or a question that takes more than `MOST` pairs.
    """
    if not 0 <= first < second <= 1:
        raise ValueError(f"success rates {first:g} and {second:g}; allowed: 0 <= first < second <= 1")
    if not 0 < wanted < 1:
        raise ValueError(f"power is {wanted}; allowed: between 0 and 1, for example 0.8")

    def enough(pairs: int) -> bool:
        return power(design(pairs, min(looks, pairs), error), first, second)[0] >= wanted

    low, high = 1, 8
    while not enough(high):
        if high == MOST:
            raise ValueError(
                f"to tell {first:.0%} from {second:.0%} takes more than {MOST} pairs: ask for a larger difference"
            )
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return design(high, min(looks, high), error)


def _start(cases: int, pairs: int) -> np.ndarray:
    alive = np.zeros((cases, pairs + 1, pairs + 1))
    alive[:, 0, 0] = 1.0
    return alive


def _carry(alive: np.ndarray, done: int, upto: int, win: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The distribution of (wins, losses), (C, N+1, N+1), carried from `done` to `upto` pairs; chances (C,)."""
    win, loss = win[:, None, None], loss[:, None, None]
    for pair in range(done, upto):
        reached = alive[:, : pair + 2, : pair + 2]  # of no more wins or losses than pairs
        after = (1 - win - loss) * reached
        after[:, 1:] += win * reached[:, :-1]
        after[:, :, 1:] += loss * reached[:, :, :-1]
        reached[:] = after
    return alive


def _statistic(pairs: int) -> np.ndarray:
    """McNemar's statistic of (wins, losses), (N+1, N+1); 0 without discordant pairs."""
    wins, losses = np.meshgrid(np.arange(pairs + 1), np.arange(pairs + 1), indexing="ij")
    return np.round((wins - losses) / np.sqrt(np.maximum(wins + losses, 1)), _DECIMALS)

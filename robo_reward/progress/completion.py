"""When to call a task done: sustained, all perspectives agreeing, above a threshold with a bounded false-success rate.

A false success changes the optimum (potential shaping does not protect against it), so the threshold is chosen on
held-out outcomes and comes with a Clopper-Pearson bound. The bound holds for exchangeable episodes only: it is checked
again on the learner's own rollouts (`runtime/recheck.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CompletionRule:
    """Done when the completion score stayed at or above `threshold` for `sustain` queries in a row."""

    threshold: float = 0.95
    sustain: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"completion.threshold={self.threshold} outside (0, 1]")
        if self.sustain < 1:
            raise ValueError(f"completion.sustain={self.sustain}: expected at least 1 query")

    def completed(self, scores: Sequence[float]) -> bool:
        """Whether the last `sustain` scores all reach the threshold."""
        return len(scores) >= self.sustain and min(scores[-self.sustain :]) >= self.threshold

    def fired(self, scores: Sequence[float]) -> bool:
        """Whether it called an episode with these scores done at any time, its last frame taken to stay."""
        return sustained_maximum(scores, self.sustain) >= self.threshold


SUCCESS, PARTIAL, FAILURE = "success", "partial", "failure"
VERDICTS = (FAILURE, PARTIAL, SUCCESS)
"""From the worst to the best."""
HALF = 0.5
"""Progress at an episode's end from which a failure is a partial success: half of the task's equal-mass stages."""


@dataclass(frozen=True)
class CompletionTarget:
    """What the threshold has to keep to: at most `false_success_bound` false successes, said with `confidence`."""

    false_success_bound: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("false_success_bound", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"completion.{name}={getattr(self, name)} outside (0, 1)")


def verdict(scores: Sequence[float], progress: float, rule: CompletionRule) -> str:
    """What became of a whole episode: `SUCCESS`, `PARTIAL` or `FAILURE`.

    Success when the rule holds at the end. The last observation is taken to stay, as in the calibration, so that is
    when the last score reaches the threshold; a task that was done and came undone is none. Otherwise partial when the
    potential ended at `HALF` or above.

    scores: completion scores of the episode's queries; progress: its last potential, both in [0, 1].
    """
    if scores[-1] >= rule.threshold:
        return SUCCESS
    return outcome(False, progress)


def outcome(success: bool, progress: float) -> str:
    """The three-way outcome of an episode whose success is known and whose progress ended there, in [0, 1]."""
    return SUCCESS if success else PARTIAL if progress >= HALF else FAILURE


@dataclass(frozen=True)
class CompletionCalibration:
    """The chosen rule and what it did on the held-out episodes."""

    rule: CompletionRule
    false_successes: int
    false_success_bound: float
    """One-sided upper bound at the target's confidence on the rate of false successes."""
    recall: float
    """Share of the successes that the rule calls done."""
    failures: int
    successes: int
    bound_met: bool

    def summary(self) -> dict[str, float | int | bool]:
        """Flat `completion_...` numbers."""
        return {
            "completion_threshold": self.rule.threshold,
            "completion_recall": self.recall,
            "completion_successes": self.successes,
            "completion_failures": self.failures,
            "completion_false_successes": self.false_successes,
            "completion_false_rate_bound": self.false_success_bound,
            "completion_bound_met": self.bound_met,
        }


def sustained_maximum(scores: Sequence[float], sustain: int) -> float:
    """The highest threshold at which these scores would have been called done; in [0, 1].

    The last frame is taken to stay (the world stops when the task is done), for failures as for successes.
    """
    padded = np.concatenate([np.asarray(scores, dtype=float), np.full(sustain - 1, scores[-1])])
    return float(np.lib.stride_tricks.sliding_window_view(padded, sustain).min(axis=1).max())


def clopper_pearson_upper(errors: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided upper confidence bound of an error rate; 1 without trials. 0 of 59 gives 0.0495 at 95 %."""
    if not 0 <= errors <= trials:
        raise ValueError(f"{errors} errors of {trials} trials: expected 0 <= errors <= trials")
    if errors == trials:
        return 1.0
    low, high = errors / trials, 1.0
    for _ in range(60):  # the rate at which so few errors would have probability 1 - confidence
        rate = (low + high) / 2
        chance = sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(errors + 1))
        low, high = (rate, high) if chance > 1 - confidence else (low, rate)
    return high


def calibrate(
    success_scores: Sequence[Sequence[float]],
    failure_scores: Sequence[Sequence[float]],
    sustain: int = 2,
    target: CompletionTarget | None = None,
) -> CompletionCalibration:
    """Threshold from the completion scores of held-out successes and failures (one sequence per episode).

    The lowest threshold whose bound on false successes keeps to the target; when there are too few failures for that,
    the lowest that none of them passes, or 1 (`bound_met` is then False and the bound says what is known).
    """
    target = target or CompletionTarget()
    failed = np.sort([sustained_maximum(s, sustain) for s in failure_scores])[::-1]
    done = np.array([sustained_maximum(s, sustain) for s in success_scores])
    trials, allowed = len(failed), 0
    while (
        allowed < trials and clopper_pearson_upper(allowed + 1, trials, target.confidence) <= target.false_success_bound
    ):
        allowed += 1
    worst = failed[allowed] if allowed < trials else 0.0
    # Midway to the next success above it: neither outcome's sample sits on the threshold.
    above = done[done > worst]
    threshold = float(np.clip((worst + above.min()) / 2 if len(above) else (worst + 1) / 2, 0.5, 1.0))
    passed = int((failed >= threshold).sum())
    # Of the errors that were allowed, not of those that happened: the threshold was chosen on these episodes. More than
    # that pass where failures tie at a score of 1, above which no threshold lies.
    bound = clopper_pearson_upper(max(allowed, passed), trials, target.confidence)
    return CompletionCalibration(
        CompletionRule(threshold, sustain),
        passed,
        bound,
        float((done >= threshold).mean()) if len(done) else float("nan"),
        trials,
        len(done),
        bound <= target.false_success_bound,
    )

"""When to call a task done: sustained, all perspectives agreeing, above a threshold with a bounded false-success rate.

A false success changes the optimum (potential shaping does not protect against it), so the threshold is chosen on
held-out outcomes and comes with a Clopper-Pearson bound. The bound holds for exchangeable episodes only: it has to be
checked again on the learner's own rollouts.
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


@dataclass(frozen=True)
class CompletionCalibration:
    """The chosen rule and what it did on the held-out episodes."""

    rule: CompletionRule
    false_success_rate: float
    false_success_bound: float
    """One-sided upper bound at `confidence`."""
    recall: float
    failures: int
    successes: int
    bound_met: bool


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
    false_rate: float = 0.05,
    confidence: float = 0.95,
) -> CompletionCalibration:
    """Threshold from the completion scores of held-out successes and failures (one sequence per episode).

    The lowest threshold whose bound on false successes is at most `false_rate`; when there are too few failures for
    that, the lowest that none of them passes (`bound_met` is then False and the bound says what is known).
    """
    failed = np.sort([sustained_maximum(s, sustain) for s in failure_scores])[::-1]
    done = np.array([sustained_maximum(s, sustain) for s in success_scores])
    allowed = 0
    while allowed < len(failed) and clopper_pearson_upper(allowed + 1, len(failed), confidence) <= false_rate:
        allowed += 1
    worst = failed[allowed] if allowed < len(failed) else 0.0
    # Midway to the next success above it: neither outcome's sample sits on the threshold.
    above = done[done > worst]
    threshold = float(np.clip((worst + above.min()) / 2 if len(above) else (worst + 1) / 2, 0.5, 1.0))
    errors = int((failed >= threshold).sum())
    bound = clopper_pearson_upper(errors, len(failed), confidence)
    return CompletionCalibration(
        CompletionRule(threshold, sustain),
        errors / len(failed) if len(failed) else float("nan"),
        bound,
        float((done >= threshold).mean()) if len(done) else float("nan"),
        len(failed),
        len(done),
        bound <= false_rate,
    )

"""What a method says became of each episode (failure, partial, success) against what did, and when it said so.

Outcomes are numbers from the worst to the best: `VERDICTS[0]` is failure, 1 partial, 2 success.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from robo_reward.progress.bench.metrics import Values
from robo_reward.progress.completion import HALF, VERDICTS, CompletionRule, outcome, verdict
from robo_reward.progress.tracker import completion_score
from robo_reward.types import Progress

Outcomes = Int64[np.ndarray, "E"]


def true_outcomes(truth: Values, success: Bool[np.ndarray, "E"]) -> Outcomes:
    """A failed episode counts as partial when its true progress ended at half of the task or above."""
    return np.array([VERDICTS.index(outcome(bool(s), p[-1])) for p, s in zip(truth, success, strict=True)])


def outcomes_by_rule(tracks: Sequence[Sequence[Progress]], rule: CompletionRule) -> Outcomes:
    """The verdict of a method with a tracker, under its calibrated completion rule."""
    return np.array([VERDICTS.index(verdict([completion_score(p) for p in t], t[-1].phi, rule)) for t in tracks])


def outcomes_by_value(values: Values, stages: int) -> Outcomes:
    """Of a method without a tracker: the last value says success within half a stage of 1, and partial from 0.5 up."""
    return np.array([2 if v[-1] >= 1 - HALF / stages else int(v[-1] >= HALF) for v in values])


def confusion(said: Outcomes, true: Outcomes) -> Int64[np.ndarray, "3 3"]:
    """Episodes by true outcome (row) and said outcome (column)."""
    table = np.zeros((len(VERDICTS), len(VERDICTS)), dtype=np.int64)
    np.add.at(table, (true, said), 1)
    return table


def hits(said: Outcomes, true: Outcomes) -> Float[np.ndarray, "E"]:
    """1 for each episode whose outcome was named rightly, else 0."""
    return (said == true).astype(float)


def success_counts(said: Outcomes, true: Outcomes) -> Float[np.ndarray, "E 2"]:
    """Of each episode: its share in 2 TP and in 2 TP + FP + FN of success, so that their ratio of sums is the F1."""
    yes, done = (x == len(VERDICTS) - 1 for x in (said, true))
    hit = 2.0 * (yes & done)
    return np.stack([hit, hit + (yes ^ done)], axis=1)


def completion_steps(
    tracks: Sequence[Sequence[Progress]], steps: Values, rule: CompletionRule, every: int
) -> Float[np.ndarray, "E"]:
    """The step [frames] at which each episode is first called done; NaN if never.

    The last observation is taken to stay, as in the calibration: a rule that only then has seen enough queries answers
    that much later. every: frames between such queries.
    """
    found = []
    for track, at in zip(tracks, steps, strict=True):
        scores = [completion_score(p) for p in track]
        padded = [*scores, *[scores[-1]] * (rule.sustain - 1)]
        when = [*at, *(at[-1] + every * (i + 1) for i in range(rule.sustain - 1))]
        fired = [i for i in range(len(padded)) if rule.completed(padded[: i + 1])]
        found.append(float(when[fired[0]]) if fired else np.nan)
    return np.array(found)


def done_steps(truth: Values, steps: Values) -> Float[np.ndarray, "E"]:
    """The step [frames] at which each success was first done in truth: progress 1, else its last observation."""
    return np.array([
        float(at[np.argmax(p >= 1 - 1e-6)] if (p >= 1 - 1e-6).any() else at[-1])
        for p, at in zip(truth, steps, strict=True)
    ])  # fmt: skip

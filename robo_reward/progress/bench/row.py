"""One row of the table: every metric of one method, with its interval over episodes and its undefined cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from robo_reward.progress.bench import judgement, metrics, quality, resampling, retrieval, separation
from robo_reward.progress.bench.method import Method, backwards, static, values_of
from robo_reward.progress.bench.shaped import FORMS, Transitions, epic_to_oracle
from robo_reward.types import Episode, Progress

PROBED = 10
"""Clips of each outcome that are shown standing still, and whose answers are compared with each other."""


@dataclass(frozen=True)
class BenchSettings:
    """What the metrics refer to."""

    horizon: int = 120
    stages: int = 4
    alignment_stages: tuple[int, ...] = (1, 2)
    """Stage values in which precision decides: from the first stage reached to the third."""
    before_end: int = 8
    """Steps before a success's end at which the second length-matched AUC is read."""
    draws: int = 500
    seed: int = 0
    gamma: float = 0.99
    """Discount of the rewards that EPIC compares."""

    def __post_init__(self) -> None:
        for name in ("horizon", "stages", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"bench.{name}={getattr(self, name)}: expected at least 1")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"bench.gamma={self.gamma} outside (0, 1]")


@dataclass(frozen=True)
class Cases:
    """The episodes, successes first, with what every row is measured against and the draws all rows share."""

    success: list[Episode]
    failure: list[Episode]
    truth: list[np.ndarray]
    steps: Transitions
    counts: resampling.Counts
    validation: Sequence[Episode] = ()
    """Others, on which scores are turned into probabilities."""

    @property
    def episodes(self) -> list[Episode]:
        """All of them, in the order of `truth`."""
        return [*self.success, *self.failure]

    @property
    def done(self) -> Bool[np.ndarray, "E"]:
        """Which of them succeeded."""
        return np.arange(len(self.truth)) < len(self.success)


@dataclass
class Measured:
    """What one method said, and its row as far as it is filled."""

    method: Method
    cases: Cases
    settings: BenchSettings
    tracks: list[list[Progress]] | None
    values: list[np.ndarray]
    row: dict[str, Any]
    tables: dict[str, Any] = field(default_factory=dict)
    """What does not fit a row: the `confusion` of outcomes, and of `instructions` where it reads them."""

    def put(self, name: str, draws: np.ndarray, undefined: int = 0) -> None:
        """A metric in every draw of episodes, and in how many cases it is undefined."""
        self.row |= flat(name, resampling.interval(draws)) | {f"{name}_undefined": undefined}

    def mean(self, name: str, per_episode: np.ndarray) -> None:
        """A metric with a value for each of some episodes, NaN where it is undefined."""
        counts = resampling.draw_counts(len(per_episode), self.settings.draws, self.settings.seed)
        self.put(name, resampling.mean(counts, per_episode), int((~np.isfinite(per_episode)).sum()))

    def ratio(self, name: str, parts: np.ndarray) -> None:
        """parts: (E, 2), what is counted and out of how many."""
        self.put(name, resampling.ratio(self.cases.counts, parts[:, 0], parts[:, 1]), int((parts[:, 1] == 0).sum()))

    def skip(self, *names: str) -> None:
        """Metrics that this method cannot have."""
        self.row |= dict.fromkeys(f"{n}{suffix}" for n in names for suffix in ("", "_low", "_high", "_undefined"))

    @property
    def finals(self) -> np.ndarray:
        """The last value of each episode."""
        return np.array([v[-1] for v in self.values])


def measure(method: Method, cases: Cases, settings: BenchSettings) -> Measured:
    """All metrics of one method."""
    tracks = method.tracked.progress(cases.episodes) if method.tracked else None
    values = values_of(tracks) if tracks is not None else method.score(cases.episodes)
    head = {"method": method.name, "success": len(cases.success), "failure": len(cases.failure),
            "control": method.control, "reads": method.reads}  # fmt: skip
    found = Measured(method, cases, settings, tracks, values, head)
    for theme in (_order_and_error, _outcomes, _probabilities, _instructions, _probes, _rewards, _rollouts):
        theme(found)
    return found


def _order_and_error(m: Measured) -> None:
    cases, settings, ns = m.cases, m.settings, len(m.cases.success)
    truth, steps = cases.truth, [e.frame_steps for e in cases.episodes]
    m.mean("voc", metrics.value_order_correlation(m.values[:ns], steps[:ns]))
    if m.method.probed:
        reversed_values = m.method.score([backwards(e) for e in cases.success])
        m.mean("vroc", -metrics.value_order_correlation(reversed_values, steps[:ns]))
    else:
        m.skip("vroc")
    m.mean("progress_error", metrics.progress_error(m.values[:ns], truth[:ns]))
    m.mean("progress_error_failure", metrics.progress_error(m.values[ns:], truth[ns:]))
    inside = [np.isin(e.stage[e.frame_steps], settings.alignment_stages) for e in cases.episodes]
    pooled = metrics.pooled(m.values, truth, inside)
    empty = sum(not mask.any() for mask in inside)
    m.put("alignment_rank_correlation", resampling.rank_correlation(cases.counts, *pooled), empty)
    each = [metrics.rank_correlation(v[k], p[k]) for v, p, k in zip(m.values, truth, inside, strict=True)]
    m.mean("alignment_rank_correlation_per_episode", np.array(each))
    m.ratio("regression_recall", metrics.regressions_noticed(m.values, truth))
    m.ratio("tie_rate", metrics.ties(m.values))


def _outcomes(m: Measured) -> None:
    """Success against failure, the three outcomes, and when the task was called done."""
    cases, settings, ns = m.cases, m.settings, len(m.cases.success)
    steps = [e.frame_steps for e in cases.episodes]
    vs, vf, counts = m.values[:ns], m.values[ns:], cases.counts
    sides = counts[:, :ns], counts[:, ns:]
    for name, before_end in (("success_auc", 0), ("success_auc_8_before_end", settings.before_end)):
        wins, short = metrics.length_matched_wins(vs, steps[:ns], vf, steps[ns:], before_end)
        m.put(name, resampling.win_rate(*sides, wins), short)
    m.put("success_auc_plain", resampling.win_rate(*sides, metrics.final_wins(vs, vf)))
    true = judgement.true_outcomes(cases.truth, cases.done)
    m.put("kendall_tau_b", separation.kendall_tau_b(counts, m.finals, true))
    m.put("pair_accuracy", separation.pair_accuracy(counts, m.finals, true))
    m.put("d_prime", separation.d_prime(counts, m.finals, cases.done))
    m.put("false_positives_at_95_recall", separation.false_positives_at(counts, m.finals, cases.done))
    tracked = m.method.tracked
    if tracked and m.tracks is not None:
        said = judgement.outcomes_by_rule(m.tracks, tracked.rule)
        when = judgement.completion_steps(m.tracks, steps, tracked.rule, tracked.every)
        late = when[:ns] - judgement.done_steps(cases.truth[:ns], steps[:ns])
        m.mean("completion_delay_frames", np.where(late >= 0, late, np.nan))
        m.mean("completion_early_rate", (late < 0).astype(float))
        m.mean("completion_lead_frames", np.where(late < 0, -late, np.nan))
        m.mean("false_success_rate", np.isfinite(when[ns:]).astype(float))
    else:
        said = judgement.outcomes_by_value(m.values, settings.stages)
        m.skip("completion_delay_frames", "completion_early_rate", "completion_lead_frames", "false_success_rate")
    m.mean("three_way_accuracy", judgement.hits(said, true))
    m.ratio("completion_f1", judgement.success_counts(said, true))
    m.tables["confusion"] = judgement.confusion(said, true).tolist()


def _probabilities(m: Measured) -> None:
    """Last values as probabilities of success, by a logistic fitted on the validation episodes."""
    outcomes = np.array([e.success for e in m.cases.validation], dtype=bool)
    changed_clip = m.method.control and not m.method.probed  # shown another clip, it has no outcome to tell
    if changed_clip or not outcomes.any() or outcomes.all():
        m.skip("brier", "calibration_error")
        return
    scores = np.array([v[-1] for v in m.method.score(m.cases.validation)])
    chance = separation.probability(m.finals, separation.platt(scores, outcomes))
    m.mean("brier", separation.brier(chance, m.cases.done))
    m.put("calibration_error", separation.calibration_error(m.cases.counts, chance, m.cases.done))


def _instructions(m: Measured) -> None:
    """The videos of successes under every instruction that the method knows."""
    known, success = m.method.instructions, m.cases.success
    if m.method.told is None or len(known) < 2:
        m.skip("wrong_instruction_accuracy", "video_retrieval")
        return
    told = [m.method.told(success, instruction) for instruction in known]
    table = np.array([[v[-1] for v in values] for values in told]).T
    own = np.array([known.index(e.instruction) for e in success])
    m.mean("wrong_instruction_accuracy", retrieval.instruction_retrieval(table, own))
    m.mean("video_retrieval", retrieval.video_retrieval(table, own))
    m.tables["instructions"] = retrieval.confusion_matrix(table, own, known)


def _probes(m: Measured) -> None:
    """Clips in which nothing moves, and answers against each other."""
    some = [*m.cases.success[:PROBED], *m.cases.failure[:PROBED]]
    if m.method.probed:
        drift = m.method.score([static(e) for e in some])
        m.mean("stall_drift", metrics.stall_drift(drift))
        m.mean("stall_drift_per_100_frames", metrics.drift_per_100_frames(drift, [e.frame_steps for e in some]))
    else:
        m.skip("stall_drift", "stall_drift_per_100_frames")
    if m.method.tracked:
        for name, values in m.method.tracked.consistency(some, m.settings.seed).items():
            m.mean(name, values)
    else:
        m.skip("round_trip_error", "transitivity_residual", "stride_spread")


def _rewards(m: Measured) -> None:
    for form in FORMS:
        m.put(f"epic_{form}", epic_to_oracle(form, m.values, m.cases.episodes, m.cases.steps, m.cases.counts))


def _rollouts(m: Measured) -> None:
    for name, values in quality.outcome_quality(m.values).items():
        m.mean(name, values)
    m.mean("score_mae", quality.score_error(m.values, m.cases.truth))


def flat(name: str, found: tuple[float, float, float]) -> dict[str, float | None]:
    """The three numbers under their flat keys, undefined ones as None."""
    suffixes = ("", "_low", "_high")
    return {name + s: round(v, 4) if np.isfinite(v) else None for s, v in zip(suffixes, found, strict=True)}

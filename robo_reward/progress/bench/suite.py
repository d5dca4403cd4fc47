"""One table for a reward model, its rivals, its controls and the oracle: same episodes, same code path, 95 % intervals.

VOC, VROC and plain AUC are gamed by a clock (see the counter's and minus-length's rows); progress error on failures,
length-matched AUC, alignment rank correlation and wrong-instruction retrieval discriminate. The table says so itself:
each metric carries the best control's value and whether the row beats it (`discrimination`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.progress.annotate import track_many
from robo_reward.progress.bench import discrimination, judgement, metrics, resampling
from robo_reward.progress.bench.reliability import confidence_error_correlation, reliability_table
from robo_reward.progress.bench.shaped import FORMS, Transitions, epic_to_oracle, transitions_of
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.labels import label_episode
from robo_reward.progress.models import controls
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.progress.scorer import EpisodeScorer
from robo_reward.progress.training import RewardModel
from robo_reward.types import Episode, Progress

Score = Callable[[Sequence[Episode]], list[np.ndarray]]
"""Values (Q,) at each episode's query frames."""


STALLS = 10
"""Clips of each outcome whose first frame is repeated to see whether the value drifts."""


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
class Method:
    """A row of the table. `wrong` scores episodes under another instruction; None for what cannot read one."""

    name: str
    score: Score
    wrong: Score | None = None
    probed: bool = True
    """Whether it is also run on reversed and still clips: not when it is such a run itself or does not read frames."""
    control: bool = False
    """Whether it knows nothing of the task, so that a metric it does well on tells nothing."""
    reads: str | None = None
    """What its values depend on, in words, of a trained model."""
    progress: Callable[[Sequence[Episode]], list[list[Progress]]] | None = None
    """What its tracker says at each query frame, with its confidence; None for what has no tracker."""
    rule: CompletionRule | None = None
    """The tracker's calibrated completion rule."""


@dataclass(frozen=True)
class Cases:
    """The episodes, successes first, with what every row is measured against and the draws all rows share."""

    success: list[Episode]
    failure: list[Episode]
    truth: list[np.ndarray]
    steps: Transitions
    counts: resampling.Counts

    @property
    def episodes(self) -> list[Episode]:
        """All of them, in the order of `truth`."""
        return [*self.success, *self.failure]


def model_method(reward: RewardModel, name: str = "compact") -> Method:
    """The reward model as its causal tracker reports it at the query frames."""

    def progress(episodes: Sequence[Episode], other: bool = False) -> list[list[Progress]]:
        found: list[list[Progress]] = []
        for episode in episodes:
            instruction = episode.instruction
            if other:
                instruction = next((i for i in sorted(reward.references) if i != instruction), instruction)
            (track,) = track_many([episode], reward.model, reward.tracker, reward.references, instruction)
            held = np.searchsorted(track.steps, episode.frame_steps, side="right") - 1
            found.append([track.progress[i] for i in held])
        return found

    def score(episodes: Sequence[Episode], other: bool = False) -> list[np.ndarray]:
        tracks = progress(episodes, other)
        # Rounded as a track stores it.
        return [np.array([p.phi for p in track], dtype=np.float32).astype(float) for track in tracks]

    wrong = partial(score, other=True) if len(reward.references) > 1 else None
    return Method(name, score, wrong, reads=reward.reads, progress=progress, rule=reward.tracker.completion)


def scorer_method(scorer: EpisodeScorer) -> Method:
    """A trained reward model's potential at the query frames; with its tracker where it has one."""
    if isinstance(scorer, RewardModel):
        return model_method(scorer)

    def score(episodes: Sequence[Episode], other: bool = False) -> list[np.ndarray]:
        found = []
        for episode in episodes:
            tasks = [t for t in scorer.instructions if t != episode.instruction]
            (track,) = scorer.annotate([episode], tasks[0] if other else None)
            found.append(track.phi[episode.frame_steps].astype(float))
        return found

    wrong = partial(score, other=True) if len(scorer.instructions) > 1 else None
    return Method(scorer.name, score, wrong, reads=scorer.reads)


def control_methods(model: Method, episodes: Sequence[Episode], settings: BenchSettings) -> list[Method]:
    """Controls, the labels' own floor and the oracle, next to the model they are for."""
    change = [controls.pixel_change(e)[-1] for e in episodes if e.success]
    scale = float(np.mean(change)) if change else 1.0

    def each(f: Callable[[Episode], np.ndarray]) -> Score:
        return lambda episodes: [f(e) for e in episodes]

    def control(name: str, score: Score, probed: bool = True) -> Method:
        return Method(name, score, probed=probed, control=True)

    return [
        control(f"{model.name} on a static clip", lambda es: model.score([_static(e) for e in es]), probed=False),
        control(f"{model.name} on the reversed clip", lambda es: model.score([_reversed(e) for e in es]), probed=False),
        control("counter", each(partial(controls.counter, horizon=settings.horizon))),
        control("cumulative pixel difference", each(lambda e: np.minimum(controls.pixel_change(e) / scale, 1.0))),
        control("minus length", each(partial(controls.minus_length, horizon=settings.horizon))),
        control("constant", each(controls.constant)),
        Method("labels (floor)", each(lambda e: label_episode(e, settings.stages).phi[e.frame_steps]), probed=False),
        Method("oracle", each(lambda e: oracle_of(e)[e.frame_steps]), probed=False),
    ]


def bench(methods: Sequence[Method], episodes: Sequence[Episode], settings: BenchSettings) -> list[dict[str, Any]]:
    """One row per method: every metric with `_low`, `_high` and `_undefined`, and how it stands to the best control.

    Raises ValueError without at least one success and one failure among the episodes, or without oracle progress.
    """
    success, failure = ([e for e in episodes if e.success == s] for s in (True, False))
    if not success or not failure:
        raise ValueError(f"{len(success)} successes and {len(failure)} failures: the benchmark needs both outcomes")
    cases = Cases(
        success,
        failure,
        [oracle_of(e)[e.frame_steps] for e in [*success, *failure]],
        transitions_of([*success, *failure], settings.gamma, settings.seed),
        resampling.draw_counts(len(episodes), settings.draws, settings.seed),
    )
    rows = [_row(m, cases, settings) for m in methods]
    return [row | discrimination.marks(row, rows) for row in rows]


def bench_reward(
    reward: EpisodeScorer,
    episodes: Sequence[Episode],
    settings: BenchSettings,
    out_dir: Path,
    rivals: Sequence[EpisodeScorer] = (),
) -> dict[str, Any]:
    """The table of one reward model: writes bench.json, bench.csv and reliability.json, returns the flat summary."""
    model, others = scorer_method(reward), [scorer_method(rival) for rival in rivals]
    rows = bench([model, *others, *control_methods(model, episodes, settings)], episodes, settings)
    write_table(rows, Path(out_dir))
    table, correlation = reliability(model, episodes, settings) if model.progress else ([], {})
    (Path(out_dir) / "reliability.json").write_text(json.dumps(table, indent=2, allow_nan=False) + "\n")
    return summary(rows) | {f"reward_{k}": v for k, v in correlation.items()}


def reliability(
    method: Method, episodes: Sequence[Episode], settings: BenchSettings
) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    """Confidence against error of a method with a tracker: the table and `confidence_error_correlation` of it.

    Raises ValueError for a method without a tracker, or without oracle progress.
    """
    if method.progress is None:
        raise ValueError(f"{method.name} has no tracker and so no confidence: give a reward model")
    tracks = method.progress(episodes)
    confidence = [np.array([p.confidence for p in track]) for track in tracks]
    error = [
        np.abs(np.array([p.phi for p in track]) - oracle_of(e)[e.frame_steps])
        for track, e in zip(tracks, episodes, strict=True)
    ]
    counts = resampling.draw_counts(len(episodes), settings.draws, settings.seed)
    found = resampling.interval(confidence_error_correlation(confidence, error, counts))
    return reliability_table(confidence, error, counts), _flat("confidence_error_correlation", found)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Flat keys `reward_<metric>[_low|_high|...]` of the first row, and the labels' floor."""
    first = {k: v for k, v in rows[0].items() if k not in ("method", "success", "failure", "control", "reads")}
    flat = {f"reward_{k}": v for k, v in first.items()}
    for row in rows:
        if row["method"] == "labels (floor)":
            for suffix in ("", "_low", "_high"):
                flat[f"reward_label_floor{suffix}"] = row[f"progress_error{suffix}"]
                flat[f"reward_label_floor_failure{suffix}"] = row[f"progress_error_failure{suffix}"]
    return flat


def write_table(rows: Sequence[dict[str, Any]], out_dir: Path) -> None:
    """bench.json (undefined = null) and bench.csv (undefined = empty)."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "bench.json").write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n")
    with (out_dir / "bench.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _row(method: Method, cases: Cases, settings: BenchSettings) -> dict[str, Any]:
    success, failure, truth = cases.success, cases.failure, cases.truth
    ns, nf = len(success), len(failure)
    vs, vf = method.score(success), method.score(failure)
    values = [*vs, *vf]
    steps_s, steps_f = ([e.frame_steps for e in group] for group in (success, failure))
    row: dict[str, Any] = {"method": method.name, "success": ns, "failure": nf, "control": method.control,
                           "reads": method.reads}  # fmt: skip

    def put(name: str, draws: np.ndarray, undefined: int) -> None:
        row.update(_flat(name, resampling.interval(draws)))
        row[f"{name}_undefined"] = undefined

    def put_mean(name: str, per_episode: np.ndarray) -> None:
        counts = resampling.draw_counts(len(per_episode), settings.draws, settings.seed)
        put(name, resampling.mean(counts, per_episode), int((~np.isfinite(per_episode)).sum()))

    def put_ratio(name: str, parts: np.ndarray) -> None:
        """parts: (E, 2), what is counted and out of how many."""
        put(name, resampling.ratio(cases.counts, parts[:, 0], parts[:, 1]), int((parts[:, 1] == 0).sum()))

    def skip(*names: str) -> None:
        row.update(dict.fromkeys(f"{name}{suffix}" for name in names for suffix in ("", "_low", "_high", "_undefined")))

    put_mean("voc", metrics.value_order_correlation(vs, steps_s))
    if method.probed:
        put_mean("vroc", -metrics.value_order_correlation(method.score([_reversed(e) for e in success]), steps_s))
    else:
        skip("vroc")
    put_mean("progress_error", metrics.progress_error(vs, truth[:ns]))
    put_mean("progress_error_failure", metrics.progress_error(vf, truth[ns:]))
    sides = cases.counts[:, :ns], cases.counts[:, ns:]
    for name, before_end in (("success_auc", 0), ("success_auc_8_before_end", settings.before_end)):
        wins, short = metrics.length_matched_wins(vs, steps_s, vf, steps_f, before_end)
        put(name, resampling.win_rate(*sides, wins), short)
    put("success_auc_plain", resampling.win_rate(*sides, metrics.final_wins(vs, vf)), 0)
    inside = [np.isin(e.stage[e.frame_steps], settings.alignment_stages) for e in cases.episodes]
    put(
        "alignment_rank_correlation",
        resampling.rank_correlation(cases.counts, *metrics.pooled(values, truth, inside)),
        sum(not m.any() for m in inside),
    )
    per_episode = [metrics.rank_correlation(v[m], p[m]) for v, p, m in zip(values, truth, inside, strict=True)]
    put_mean("alignment_rank_correlation_per_episode", np.array(per_episode))
    if method.wrong is not None:
        put_mean("wrong_instruction_accuracy", metrics.retrieval_accuracy(vs, method.wrong(success)))
    else:
        skip("wrong_instruction_accuracy")
    if method.probed:
        still = [_static(e) for e in [*success[:STALLS], *failure[:STALLS]]]
        drift = method.score(still)
        put_mean("stall_drift", metrics.stall_drift(drift))
        put_mean("stall_drift_per_100_frames", metrics.drift_per_100_frames(drift, [e.frame_steps for e in still]))
    else:
        skip("stall_drift", "stall_drift_per_100_frames")
    put_ratio("regression_recall", metrics.regressions_noticed(values, truth))
    put_ratio("tie_rate", metrics.ties(values))
    true = judgement.true_outcomes(truth, np.arange(ns + nf) < ns)
    put_mean("three_way_accuracy", judgement.hits(_said(method, cases, values, settings), true))
    for form in FORMS:
        put(f"epic_{form}", epic_to_oracle(form, values, cases.episodes, cases.steps, cases.counts), 0)
    return row


def _said(method: Method, cases: Cases, values: Sequence[np.ndarray], settings: BenchSettings) -> judgement.Outcomes:
    if method.progress is None or method.rule is None:
        return judgement.outcomes_by_value(values, settings.stages)
    return judgement.outcomes_by_rule(method.progress(cases.episodes), method.rule)


def _flat(name: str, found: tuple[float, float, float]) -> dict[str, float | None]:
    """The three numbers under their flat keys, undefined ones as None."""
    suffixes = ("", "_low", "_high")
    return {name + s: round(v, 4) if np.isfinite(v) else None for s, v in zip(suffixes, found, strict=True)}


def _static(episode: Episode) -> Episode:
    """The clip with its first frame repeated."""
    return replace(episode, frames={v: np.repeat(f[:1], len(f), axis=0) for v, f in episode.frames.items()})


def _reversed(episode: Episode) -> Episode:
    """The clip played backwards; truth and times stay, so that -VOC of it is VROC."""
    return replace(episode, frames={v: f[::-1] for v, f in episode.frames.items()})

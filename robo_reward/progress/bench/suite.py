"""One table for a reward model, its rivals, its controls and the oracle: same episodes, same code path, 95 % intervals.

VOC, VROC and plain AUC are gamed by a clock (see the counter's and minus-length's rows); progress error on failures,
length-matched AUC, alignment rank correlation and wrong-instruction retrieval discriminate. The table says so itself:
each metric carries the best control's value and whether the row beats it (`discrimination`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.progress.bench import discrimination, quality, resampling
from robo_reward.progress.bench.method import Method, control_methods, scorer_method
from robo_reward.progress.bench.reliability import confidence_error_correlation, reliability_table
from robo_reward.progress.bench.row import BenchSettings, Cases, Measured, flat, measure
from robo_reward.progress.bench.shaped import transitions_of
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.progress.scorer import EpisodeScorer
from robo_reward.types import Episode, Progress


def bench(methods: Sequence[Method], episodes: Sequence[Episode], settings: BenchSettings) -> list[dict[str, Any]]:
    """One row per method: every metric with `_low`, `_high` and `_undefined`, and how it stands to the best control.

    Raises ValueError without at least one success and one failure among the episodes, or without oracle progress.
    """
    cases = cases_of(episodes, settings)
    return _rows([measure(method, cases, settings) for method in methods])


def cases_of(episodes: Sequence[Episode], settings: BenchSettings, validation: Sequence[Episode] = ()) -> Cases:
    """What all rows are measured on. ValueError as `bench` raises."""
    success, failure = ([e for e in episodes if e.success == s] for s in (True, False))
    if not success or not failure:
        raise ValueError(f"{len(success)} successes and {len(failure)} failures: the benchmark needs both outcomes")
    return Cases(
        success,
        failure,
        [oracle_of(e)[e.frame_steps] for e in [*success, *failure]],
        transitions_of([*success, *failure], settings.gamma, settings.seed),
        resampling.draw_counts(len(episodes), settings.draws, settings.seed),
        validation,
    )


def bench_reward(
    reward: EpisodeScorer,
    episodes: Sequence[Episode],
    settings: BenchSettings,
    out_dir: Path,
    rivals: Sequence[EpisodeScorer] = (),
    validation: Sequence[Episode] = (),
) -> dict[str, Any]:
    """The table of one reward model: writes bench.json, bench.csv, reliability.json and outcomes.json (for each method
    the confusion matrices of outcomes and of instructions), returns the flat summary.

    validation: other episodes, on which scores are turned into probabilities; without them those metrics are left out.
    """
    model, others = scorer_method(reward), [scorer_method(rival) for rival in rivals]
    cases = cases_of(episodes, settings, validation)
    methods = [model, *others, *control_methods(model, episodes, settings.horizon, settings.stages)]
    measured = [measure(method, cases, settings) for method in methods]
    rows, tracks = _rows(measured), measured[0].tracks
    write_table(rows, Path(out_dir))
    table, correlation = reliability(tracks, cases, settings) if tracks is not None else ([], {})
    tables = [{"method": m.method.name, **m.tables} for m in measured]
    for name, content in (("reliability", table), ("outcomes", tables)):
        (Path(out_dir) / f"{name}.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    trivial = {k: round(v, 4) for k, v in quality.trivial_score_errors(cases.truth).items()}
    return summary(rows) | {f"reward_{k}": v for k, v in (correlation | trivial).items()}


def _rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    rows = [m.row for m in measured]
    return [row | discrimination.marks(row, rows) for row in rows]


def reliability(
    tracks: Sequence[Sequence[Progress]], cases: Cases, settings: BenchSettings
) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    """Confidence against error of a tracker's answers about the cases' episodes: the table and
    `confidence_error_correlation` of it."""
    confidence = [np.array([p.confidence for p in track]) for track in tracks]
    error = [np.abs(np.array([p.phi for p in t]) - truth) for t, truth in zip(tracks, cases.truth, strict=True)]
    found = resampling.interval(confidence_error_correlation(confidence, error, cases.counts))
    return reliability_table(confidence, error, cases.counts), flat("confidence_error_correlation", found)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Flat keys `reward_<metric>[_low|_high|...]` of the first row, and the labels' floor."""
    first = {k: v for k, v in rows[0].items() if k not in ("method", "success", "failure", "control", "reads")}
    found = {f"reward_{k}": v for k, v in first.items()}
    for row in rows:
        if row["method"] == "labels (floor)":
            for suffix in ("", "_low", "_high"):
                found[f"reward_label_floor{suffix}"] = row[f"progress_error{suffix}"]
                found[f"reward_label_floor_failure{suffix}"] = row[f"progress_error_failure{suffix}"]
    return found


def write_table(rows: Sequence[dict[str, Any]], out_dir: Path) -> None:
    """bench.json (undefined = null) and bench.csv (undefined = empty)."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "bench.json").write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n")
    with (out_dir / "bench.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

"""One table for a reward model, its controls and the oracle: same episodes, same code path, 95 % intervals.

VOC, VROC and plain AUC are gamed by a clock (see the counter's and minus-length's rows); progress error on failures,
length-matched AUC, alignment rank correlation, drift on stalls and wrong-instruction retrieval discriminate.
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
from robo_reward.progress.bench import metrics
from robo_reward.progress.labels import label_episode
from robo_reward.progress.models import controls
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.progress.training import RewardModel
from robo_reward.types import Episode

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

    def __post_init__(self) -> None:
        for name in ("horizon", "stages", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"bench.{name}={getattr(self, name)}: expected at least 1")


@dataclass(frozen=True)
class Method:
    """A row of the table. `wrong` scores episodes under another instruction; None for what cannot read one."""

    name: str
    score: Score
    wrong: Score | None = None
    probed: bool = True
    """Whether it is also run on reversed and still clips: not when it is such a run itself or does not read frames."""


def model_method(reward: RewardModel, name: str = "compact") -> Method:
    """The reward model as its causal tracker reports it at the query frames."""

    def score(episodes: Sequence[Episode], other: bool = False) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for episode in episodes:
            instruction = episode.instruction
            if other:
                instruction = next((i for i in sorted(reward.references) if i != instruction), instruction)
            (track,) = track_many([episode], reward.model, reward.tracker, reward.references, instruction)
            held = np.searchsorted(track.steps, episode.frame_steps, side="right") - 1
            found.append(track.phi[held].astype(float))
        return found

    return Method(name, score, partial(score, other=True) if len(reward.references) > 1 else None)


def control_methods(model: Method, episodes: Sequence[Episode], settings: BenchSettings) -> list[Method]:
    """Controls, the labels' own floor and the oracle, next to the model they are for."""
    change = [controls.pixel_change(e)[-1] for e in episodes if e.success]
    scale = float(np.mean(change)) if change else 1.0

    def each(f: Callable[[Episode], np.ndarray]) -> Score:
        return lambda episodes: [f(e) for e in episodes]

    return [
        Method(f"{model.name} on a static clip", lambda es: model.score([_static(e) for e in es]), probed=False),
        Method(f"{model.name} on the reversed clip", lambda es: model.score([_reversed(e) for e in es]), probed=False),
        Method("counter", each(partial(controls.counter, horizon=settings.horizon))),
        Method("cumulative pixel difference", each(lambda e: np.minimum(controls.pixel_change(e) / scale, 1.0))),
        Method("minus length", each(partial(controls.minus_length, horizon=settings.horizon))),
        Method("constant", each(controls.constant)),
        Method("labels (floor)", each(lambda e: label_episode(e, settings.stages).phi[e.frame_steps]), probed=False),
        Method("oracle", each(lambda e: oracle_of(e)[e.frame_steps]), probed=False),
    ]


def bench(methods: Sequence[Method], episodes: Sequence[Episode], settings: BenchSettings) -> list[dict[str, Any]]:
    """One row per method: every metric with `_low`, `_high` and, where it can be undefined, `_undefined` counts.

    Raises ValueError without at least one success and one failure among the episodes, or without oracle progress.
    """
    success, failure = ([e for e in episodes if e.success == s] for s in (True, False))
    if not success or not failure:
        raise ValueError(f"{len(success)} successes and {len(failure)} failures: the benchmark needs both outcomes")
    return [_row(m, success, failure, settings) for m in methods]


def bench_reward(
    reward: RewardModel, episodes: Sequence[Episode], settings: BenchSettings, out_dir: Path
) -> dict[str, Any]:
    """The whole table for one reward model: writes bench.json and bench.csv, returns the flat summary."""
    model = model_method(reward)
    rows = bench([model, *control_methods(model, episodes, settings)], episodes, settings)
    write_table(rows, Path(out_dir))
    return summary(rows)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Flat keys `reward_<metric>[_low|_high]` of the first row, and the labels' floor."""
    first = {k: v for k, v in rows[0].items() if k not in ("method", "success", "failure")}
    flat = {f"reward_{k}": v for k, v in first.items()}
    for row in rows:
        if row["method"] == "labels (floor)":
            flat["reward_label_floor"] = row["progress_error"]
            flat["reward_label_floor_failure"] = row["progress_error_failure"]
    return flat


def write_table(rows: Sequence[dict[str, Any]], out_dir: Path) -> None:
    """bench.json (undefined = null) and bench.csv (undefined = empty)."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "bench.json").write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n")
    with (out_dir / "bench.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _row(method: Method, success: list[Episode], failure: list[Episode], settings: BenchSettings) -> dict[str, Any]:
    vs, vf = method.score(success), method.score(failure)
    steps_s, steps_f = ([e.frame_steps for e in group] for group in (success, failure))
    truth_s, truth_f = ([oracle_of(e)[e.frame_steps] for e in group] for group in (success, failure))
    ns, nf = len(success), len(failure)
    row: dict[str, Any] = {"method": method.name, "success": ns, "failure": nf}

    def put(name: str, statistic: Callable[[np.ndarray], float], count: int) -> None:
        found = metrics.bootstrap(statistic, count, settings.draws, settings.seed)
        for suffix, value in zip(("", "_low", "_high"), found, strict=True):
            row[name + suffix] = round(value, 4) if np.isfinite(value) else None

    def put_mean(name: str, per_episode: np.ndarray) -> None:
        put(name, lambda i: metrics.mean_defined(per_episode[i]), len(per_episode))
        row[f"{name}_undefined"] = int((~np.isfinite(per_episode)).sum())

    def skip(name: str) -> None:
        row.update(dict.fromkeys(f"{name}{suffix}" for suffix in ("", "_low", "_high", "_undefined")))

    put_mean("voc", metrics.value_order_correlation(vs, steps_s))
    if method.probed:
        put_mean("vroc", -metrics.value_order_correlation(method.score([_reversed(e) for e in success]), steps_s))
    else:
        skip("vroc")
    put_mean("progress_error", metrics.progress_error(vs, truth_s))
    put_mean("progress_error_failure", metrics.progress_error(vf, truth_f))
    for name, before_end in (("success_auc", 0), ("success_auc_8_before_end", settings.before_end)):
        wins, short = metrics.length_matched_wins(vs, steps_s, vf, steps_f, before_end)
        put(name, _two_sided(partial(_mean_win, wins), ns), ns + nf)
        row[f"{name}_undefined"] = short
    plain = metrics.final_wins(vs, vf)
    put("success_auc_plain", _two_sided(partial(_mean_win, plain), ns), ns + nf)
    values, truth = [*vs, *vf], [*truth_s, *truth_f]
    inside = [np.isin(e.stage[e.frame_steps], settings.alignment_stages) for e in [*success, *failure]]
    put(
        "alignment_rank_correlation",
        lambda i: metrics.pooled_rank_correlation(
            [values[k] for k in i], [truth[k] for k in i], [inside[k] for k in i]
        ),
        ns + nf,
    )
    per_episode = [metrics.rank_correlation(v[m], p[m]) for v, p, m in zip(values, truth, inside, strict=True)]
    put_mean("alignment_rank_correlation_per_episode", np.array(per_episode))
    if method.wrong is not None:
        put_mean("wrong_instruction_accuracy", metrics.retrieval_accuracy(vs, method.wrong(success)))
    else:
        skip("wrong_instruction_accuracy")
    if method.probed:
        still = [_static(e) for e in [*success[:STALLS], *failure[:STALLS]]]
        put_mean("stall_drift", metrics.stall_drift(method.score(still)))
    else:
        skip("stall_drift")
    put(
        "regression_recall", lambda i: metrics.regression_recall([values[k] for k in i], [truth[k] for k in i]), ns + nf
    )
    put("tie_rate", lambda i: metrics.tie_rate([values[k] for k in i]), ns + nf)
    return row


def _mean_win(wins: np.ndarray, success: np.ndarray, failure: np.ndarray) -> float:
    return metrics.mean_defined(wins[np.ix_(success, failure)].ravel())


def _two_sided(statistic: Callable[[np.ndarray, np.ndarray], float], successes: int) -> Callable[[np.ndarray], float]:
    """A statistic of (success indices, failure indices) as one of indices over both, for the bootstrap."""

    def of(index: np.ndarray) -> float:
        s, f = index[index < successes], index[index >= successes] - successes
        return statistic(s, f) if len(s) and len(f) else float("nan")

    return of


def _static(episode: Episode) -> Episode:
    """The clip with its first frame repeated."""
    return replace(episode, frames={v: np.repeat(f[:1], len(f), axis=0) for v, f in episode.frames.items()})


def _reversed(episode: Episode) -> Episode:
    """The clip played backwards; truth and times stay, so that -VOC of it is VROC."""
    return replace(episode, frames={v: f[::-1] for v, f in episode.frames.items()})

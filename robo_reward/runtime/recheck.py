"""The completion rule on a learner's own rollouts, where the bound of its calibration need not hold."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.store import TransitionStore, find_store
from robo_reward.evaluation.statistics import clopper_pearson
from robo_reward.runtime.experience import DEMONSTRATIONS
from robo_reward.runtime.reannotate import BATCH
from robo_reward.terminal import progress
from robo_reward.types import Episode

COLUMNS = ("episode_id", "success", "outcome", "verdict", "fired", "score")


def recheck_completion(
    store: str | Path, reward: str | Path, quiet: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the rule says of every rollout in a transition store, demonstrations left out.

    Args:
        store: a transition store, or the folder of a training stage.
        reward: folder of a trained reward model, with its calibrated rule.

    Returns:
        Flat numbers `completion_onpolicy_...` for a summary: the share of failures that the rule called done at any
        time, its 95 % Clopper-Pearson interval and the number of failures; the share of successes that it called done;
        the share of rollouts whose verdict (success, partial, failure) is right, None without the simulator's progress.
        And a row for each rollout: its id, outcome, verdict, and the highest threshold at which it would be done.

    Raises:
        FileNotFoundError, ValueError: no such store or reward model, or a store without the frames that it needs.
    """
    from robo_reward.progress.annotate import track_many
    from robo_reward.progress.completion import outcome, sustained_maximum
    from robo_reward.progress.training import load_reward

    trained = load_reward(Path(reward))
    rule = trained.tracker.completion
    rows = []
    for episodes in _batches(TransitionStore(find_store(store)), quiet):
        for episode, track in zip(
            episodes, track_many(episodes, trained.model, trained.tracker, trained.references), strict=True
        ):
            truth = None if episode.oracle is None else outcome(episode.success, float(episode.oracle[-1]))
            score = round(sustained_maximum(track.scores, rule.sustain), 4)
            values = (episode.episode_id, episode.success, truth, track.verdict(rule), rule.fired(track.scores), score)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return _summary(rows), rows


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """onpolicy.csv, a line for each rollout."""
    path = folder / "onpolicy.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _batches(store: TransitionStore, quiet: bool) -> Iterator[list[Episode]]:
    names = [entry.episode_id for entry in store.episodes() if entry.actor != DEMONSTRATIONS]
    parts = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    for part in progress(parts, len(parts), "completion on-policy", quiet):
        yield [store.read(name) for name in part]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    failures = [row["fired"] for row in rows if not row["success"]]
    successes = [row["fired"] for row in rows if row["success"]]
    judged = [row["verdict"] == row["outcome"] for row in rows if row["outcome"] is not None]
    low, high = clopper_pearson(sum(failures), len(failures)) if failures else (None, None)
    return {
        "completion_onpolicy_false_success_rate": _share(failures),
        "completion_onpolicy_false_success_rate_low": low,
        "completion_onpolicy_false_success_rate_high": high,
        "completion_onpolicy_failures": len(failures),
        "completion_onpolicy_recall": _share(successes),
        "completion_onpolicy_successes": len(successes),
        "completion_onpolicy_three_way_accuracy": _share(judged),
    }


def _share(flags: list[bool]) -> float | None:
    return float(np.mean(flags)) if flags else None

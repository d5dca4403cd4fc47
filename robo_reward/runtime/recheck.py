"""The completion rule on a learner's own rollouts, where the bound of its calibration need not hold."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.store import TransitionStore, find_store
from robo_reward.evaluation.statistics import clopper_pearson
from robo_reward.progress.completion import SUCCESS, outcome, sustained_maximum
from robo_reward.runtime.experience import DEMONSTRATIONS
from robo_reward.runtime.reannotate import BATCH
from robo_reward.terminal import progress
from robo_reward.types import Episode

COLUMNS = ("episode_id", "outcome", "verdict", "fired", "score")


def recheck_completion(
    store: str | Path, reward: str | Path, quiet: bool = False, outcomes: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the rule says of every rollout in a transition store, demonstrations left out.

    Args:
        store: a transition store, or the folder of a training stage.
        reward: folder of a trained reward model, with its calibrated rule.
        outcomes: episode id -> success, partial or failure, an operator's word that counts in place of the store's.

    Returns:
        Flat numbers `completion_onpolicy_...` for a summary: the share of failures that the rule called done at any
        time, its 95 % Clopper-Pearson interval and the number of failures; the share of successes that it called done;
        the share of rollouts whose verdict (success, partial, failure) is right.
        And a row for each rollout: its id, outcome, verdict, whether the rule ever fired, and its score, the highest
        threshold at which it would have.

    Raises:
        FileNotFoundError, ValueError: no such store or reward model, a store without the frames that it needs or
            without an episode that `outcomes` names.
    """
    from robo_reward.progress.annotate import track_many
    from robo_reward.progress.reward_model import load_reward

    trained = load_reward(Path(reward))
    rule = trained.tracker.completion
    source, said = TransitionStore(find_store(store)), dict(outcomes or {})
    names = [entry.episode_id for entry in source.episodes() if entry.actor != DEMONSTRATIONS]
    if strangers := sorted(said.keys() - set(names)):
        raise ValueError(f"outcomes names episode {strangers[0]}, which is no rollout in the store {store}: correct it")
    rows = []
    for episodes in _batches(source, names, quiet):
        for episode, track in zip(
            episodes, track_many(episodes, trained.model, trained.tracker, trained.references), strict=True
        ):
            values = (
                episode.episode_id, said.get(episode.episode_id, _recorded(episode)), track.verdict(rule),
                rule.fired(track.scores), sustained_maximum(track.scores, rule.sustain),
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return _summary(rows), rows


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """onpolicy.csv, a line for each rollout."""
    path = folder / "onpolicy.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "score": round(row["score"], 4)} for row in rows)
    return path


def _recorded(episode: Episode) -> str:
    """Without the simulator's progress nobody can tell a partial success from a failure."""
    return outcome(episode.success, 0.0 if episode.oracle is None else float(episode.oracle[-1]))


def _batches(store: TransitionStore, names: Sequence[str], quiet: bool) -> Iterator[list[Episode]]:
    parts = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    for part in progress(parts, len(parts), "completion on-policy", quiet):
        yield [store.read(name) for name in part]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    failures = [row["fired"] for row in rows if row["outcome"] != SUCCESS]
    successes = [row["fired"] for row in rows if row["outcome"] == SUCCESS]
    judged = [row["verdict"] == row["outcome"] for row in rows]
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

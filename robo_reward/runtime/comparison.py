"""Many runs beside each other: what they set differently, their numbers, and their learning curves in one plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_reward.runtime.run_folder import METRICS, flat_settings, make_folder, read_metrics, write_atomic
from robo_reward.terminal import say

ABOUT = ("folder", "command", "date", "seed")
NOT_COMPARED = {"command", "seed", "name", "quiet", "to"}
Run = Mapping[str, Any]
"""As of `list_runs`."""


def compare(runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    """Write runs.csv (a row a run), curves.csv (a row an evaluation) and curves.svg (a colour for equal settings).

    Args:
        runs: those to compare, of any command.
        folder: made if need be; files of the same names are replaced.

    Returns:
        {"compared": their folder, "curves": how many have a learning curve}

    Raises:
        ValueError: no runs, or the folder cannot be written.
    """
    if not runs:
        raise ValueError("no runs to compare: give the folder they are in, run.root=FOLDER")
    make_folder(folder, "to")
    settings, names = [flat_settings(run["config"]) for run in runs], [str(run["path"]) for run in runs]
    differing = what_differs(settings)
    measured = sorted({key for run in runs for key in run["summary"]} - {*ABOUT, *differing})
    rows = [
        [name, s.get("command"), run["date"], s.get("seed"), *(s.get(key) for key in differing),
         *(run["summary"].get(key) for key in measured)]
        for name, run, s in zip(names, runs, settings, strict=True)
    ]  # fmt: skip
    write_atomic(folder / "runs.csv", _csv([*ABOUT, *differing, *measured], rows))
    groups: dict[str, list[tuple[list[int], list[float]]]] = {}
    points: list[list[Any]] = []
    for name, run, s in zip(names, runs, settings, strict=True):
        label = ", ".join(f"{key}={s.get(key)}" for key in differing if key in s) or str(s.get("name"))
        curve = _curve(Path(run["path"]))
        points += [[name, label, s.get("seed"), *point] for point in curve]
        if curve:
            groups.setdefault(label, []).append(([rollout for rollout, _, _ in curve], [rate for *_, rate in curve]))
    write_atomic(folder / "curves.csv", _csv(["folder", "settings", "seed", "rollout", "step", "success"], points))
    if groups:
        from robo_reward.evaluation.plots import curves_of_groups

        write_atomic(folder / "curves.svg", curves_of_groups(groups))
    count = sum(map(len, groups.values()))
    say(f"{len(runs)} runs, {count} learning curves: {folder}")
    return {"compared": str(folder), "curves": count}


def what_differs(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings with more than one value; those of folders, seeds and the like left out."""
    names = sorted({name for one in settings for name in one})
    kept = [name for name in names if name.split(".")[0] != "run" and name not in NOT_COMPARED]
    return [name for name in kept if len({repr(one[name]) for one in settings if name in one}) > 1]


def _curve(run: Path) -> list[tuple[int, int, float]]:
    """(rollout, environment step, success) of each evaluation while training; empty where there was none."""
    if not (run / METRICS).is_file():
        return []
    rows = [row for row in read_metrics(run) if row.get("success") is not None and "rollout" in row]
    return [(int(row["rollout"]), int(row["step"]), float(row["success"])) for row in rows]


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()

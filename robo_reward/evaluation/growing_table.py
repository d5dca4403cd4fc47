"""A table of results that grows line by line: a CSV file whose lines are added as runs finish and never changed."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robo_reward.data.disk import replace_file


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of the table; none while there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append_lines(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Add lines at the end, in one piece and durably; the head is written with the first.

    Several processes may write one table. Raises ValueError for a line with a value that has no column, or where the
    file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", newline="", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = next(csv.reader(file), None)
        if known not in (None, list(columns)):
            raise ValueError(f"{path} has other columns than {', '.join(columns)}: move it away, or give another file")
        writer = csv.DictWriter(file, columns)
        if known is None:
            writer.writeheader()
        writer.writerows(lines)
        file.flush()
        os.fsync(file.fileno())


def means_by(lines: Sequence[Mapping[str, str]], column: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Value of `column` -> the number of its lines as `seeds`, and [mean, least, largest] of the named columns.

    None in place of the three where a line has no number: those that never got there would be left out of the mean.
    """
    groups: dict[str, list[Mapping[str, str]]] = {}
    for line in lines:
        groups.setdefault(line[column], []).append(line)
    return {
        value: {"seeds": len(own), **{name: _spread([line[name] for line in own]) for name in names}}
        for value, own in groups.items()
    }


def fill(
    result: Path, cells: Iterable[tuple[str, int]], command_of: Callable[[str, int], str],
    run: Callable[[str, int], None], *, column: str, names: Sequence[str], script: str, only_list: bool,
) -> None:  # fmt: skip
    """Run every cell whose command the table lacks; the means stand beside it in a .json, made anew every time.

    Args:
        result: the table.
        cells: (value of `column`, seed), in the order in which they are run.
        command_of: the command of a cell, as it stands in the table's column `command`.
        run: runs a cell and adds its line.
        column: see `means_by`, and `names` too.
        script: the command that fills the table.
        only_list: print the commands that are missing, run nothing.
    """

    def write_means() -> None:
        whole = {"table": means_by(read_lines(result), column, names), "command": script}
        replace_file(result.with_suffix(".json"), (json.dumps(whole, indent=1) + "\n").encode())

    if not only_list and result.is_file():
        write_means()  # another machine's lines may have been added by hand
    for value, seed in cells:
        command = command_of(value, seed)
        if command in {line["command"] for line in read_lines(result)}:
            continue  # asked each time: another sitting may have run it meanwhile
        if only_list:
            print(command)
            continue
        print(f"{value}, seed {seed}", flush=True)
        run(value, seed)
        write_means()


def _spread(values: Sequence[str]) -> list[float] | None:
    if not all(values):
        return None
    numbers = [float(value) for value in values]
    return [sum(numbers) / len(numbers), min(numbers), max(numbers)]

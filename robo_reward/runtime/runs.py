"""The `runs` command: what has been run, and how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime.comparison import compare
from robo_reward.runtime.run_folder import list_runs
from robo_reward.terminal import say

COLUMNS = ("folder", "command", "date", "seed", "success", "wall_s")


def runs(config: Config) -> dict[str, Any]:
    """Print one line a run below `run.root`, oldest first; with to=, compare them in that folder.

    Returns:
        {"runs": their number}, and what `compare` returns.

    Raises:
        ValueError: as `compare`.
    """
    found = list_runs(config.run.root)
    rows = [COLUMNS]
    for run in found:
        settings, summary = run["config"], run["summary"]
        success = summary.get("final_success", summary.get("success"))
        wall_s = summary.get("wall_s")
        rows.append(
            (
                str(run["path"]),
                str(settings["command"]),
                run["date"],
                str(settings.get("seed", "")),
                "" if success is None else f"{success:.1%}",
                "unfinished" if wall_s is None else f"{wall_s:.1f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        say(f"no runs in {config.run.root} yet")
    return {"runs": len(found), **(compare(found, Path(config.to)) if config.to else {})}

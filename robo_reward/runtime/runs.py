"""The `runs` command: what has been run, and how it ended."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime.comparison import compare
from robo_reward.runtime.role_log import HEALTH
from robo_reward.runtime.run_folder import is_live, list_runs
from robo_reward.terminal import say

SILENT_S = 5.0
"""Beyond which a role counts as silent [s]: each is heard of every second."""
COLUMNS = ("folder", "command", "date", "seed", "success", "wall_s")


def runs(config: Config) -> dict[str, Any]:
    """Print one line a run below `run.root`, oldest first, and the roles of those that are running now; with to=,
    compare them in that folder.

    Returns:
        {"runs": their number}, and what `compare` returns.

    Raises:
        ValueError: as `compare`.
    """
    found = list_runs(config.run.root)
    rows = [COLUMNS]
    for run in found:
        settings, summary = run["config"], run["summary"]
        success = summary.get("final_success")
        wall_s = summary.get("wall_s")
        rows.append(
            (
                str(run["path"]),
                str(settings["command"]),
                run["date"],
                str(settings.get("seed", "")),
                "" if success is None else f"{success:.1%}",
                f"{wall_s:.1f}" if wall_s is not None else "live" if is_live(run["path"]) else "unfinished",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for run in found:
        if is_live(run["path"]):
            for line in health(run["path"], time.time()):
                say(line)
    if not found:
        say(f"no runs in {config.run.root} yet")
    return {"runs": len(found), **(compare(found, Path(config.to)) if config.to else {})}


def health(folder: Path, now: float) -> list[str]:
    """A line for every role of a running async run; none where there are no roles.

    Args:
        now: the time [s since 1970].
    """
    try:
        told = json.loads((folder / HEALTH).read_text(encoding="utf-8"))
        silent_s, roles = max(now - told["time"], 0.0), told["roles"]
        lines = []
        for name, role in roles.items():
            heard_s = silent_s + role.get("heard_s", 0.0)
            words = [f"{role[key]} {key}" for key in ("rollouts", "stored") if key in role]
            state = role.get("state", "playing") if heard_s < SILENT_S else "silent"
            lines.append(f"{folder.name}  {name}: {state}, {', '.join(words)}, heard of {heard_s:.0f} s ago")
        return lines
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{folder / HEALTH} is damaged: it is written anew every second"]

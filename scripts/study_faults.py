"""Run the fault tests and gather what they injected, what held and what their controls showed.

    python scripts/study_faults.py [nightly] [pytest options]

Prints the table of the rows that were run, and updates docs/results/faults.json: row of the fault table -> injected,
held, control_failed, tier. There a row keeps the figures of its larger tier. The exit code is pytest's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from robo_reward.runtime.run_folder import git_revision
from robo_reward.testing.faults import RECORD, TIER, TIERS

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "faults.json"


def gather(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows of the table; several tests of one row add up, and a row without any control says null."""
    rows: dict[str, dict[str, Any]] = {}
    for line in lines:
        row = rows.setdefault(
            line["row"], {"injected": 0, "held": 0, "control_failed": None, "tier": line["tier"], "what": []}
        )
        row["injected"] += line["injected"]
        row["held"] += line["held"]
        if line["control_failed"] is not None:
            row["control_failed"] = (row["control_failed"] or 0) + line["control_failed"]
        if line["what"] not in row["what"]:
            row["what"].append(line["what"])
    return rows


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Row, what was injected, how often, how often the promise held, and how often its controls failed."""
    lines = [("row", "injected", "held", "control failed", "what")]
    for name, row in sorted(rows.items()):
        control = "none" if row["control_failed"] is None else str(row["control_failed"])
        for number, what in enumerate(row["what"]):
            cells = (name, str(row["injected"]), str(row["held"]), control) if number == 0 else ("",) * 4
            lines.append((*cells, what))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=False)] + [line[4]] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def updated(
    known: dict[str, Any], found: dict[str, dict[str, Any]], about: dict[str, Any], passed: bool
) -> dict[str, Any]:
    """The results with these rows, each with the sitting that it is from; a row of more injections stays, unless one of
    these did not hold. The file's own stamp is that of the last sitting in which all passed."""
    stamp = {name: value for name, value in known.items() if name != "rows"}
    rows = {name: {**stamp, **row} for name, row in known.get("rows", {}).items()}
    for name, row in found.items():
        held = row["held"] == row["injected"]
        if name not in rows or not held or row["injected"] >= rows[name]["injected"]:
            rows[name] = {**row, **about}
    return {"rows": dict(sorted(rows.items())), **(about if passed or not stamp else stamp)}


def main() -> None:
    words = sys.argv[1:]
    tier = TIERS[1] if words[:1] == ["nightly"] else TIERS[0]
    with tempfile.NamedTemporaryFile() as record:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "fault", *words[tier == TIERS[1] :]]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, TIER: tier, RECORD: record.name}).returncode
        lines = [json.loads(line) for line in Path(record.name).read_text().splitlines()]
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found = gather(lines)
    print(table(found))
    about = {"command": f"make {'fault-nightly' if tier == TIERS[1] else 'fault'}", "git_revision": git_revision(),
             "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
             "cores": len(os.sched_getaffinity(0))}  # fmt: skip
    RESULT.write_text(json.dumps(updated(known, found, about, passed=code == 0), indent=1) + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()

"""Publish a finished run's figures: `python scripts/publish_run.py RUN_FOLDER NAME` writes docs/results/NAME.json.

The file holds the numbers of the run's summary.json, the settings that were typed, date, revision and cores.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    summary = json.loads((Path(sys.argv[1]) / "summary.json").read_text())
    numbers = {name: value for name, value in summary.items() if isinstance(value, (int, float, type(None)))}
    typed = shlex.split(summary["command_line"])
    # Where the run was kept and how much it said are the publisher's business.
    words = [word for word in typed[1:] if not word.startswith(("run.", "quiet="))]
    about = {key: summary[key] for key in ("date", "git_revision")}
    result = {**numbers, "seeds": 1, "command": " ".join(["robo-reward", *words]), **about}
    (RESULTS / f"{sys.argv[2]}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

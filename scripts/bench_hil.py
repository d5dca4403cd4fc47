"""What an operator is worth on PegInsert: no help, takeovers, graded protocol, demonstrations only, a poor operator.

    python scripts/bench_hil.py [--seeds 0 1 2 3 4] [--arms nobody takeovers] [--result FILE] [Hydra overrides]

Writes docs/results/hil.csv, one row an arm and seed; a quarter of an hour each on two cores. Every row is a
`robo-reward train`, so a bench that was stopped goes on where it was, and all arms share data, reward model and base.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from robo_reward.config import load_config
from robo_reward.runtime.run_folder import read_metrics, write_atomic

ARMS = {
    "nobody": [],
    "takeovers": ["hil=simulated"],
    "graded": ["hil=simulated", "hil.protocol=graded"],
    "demonstrations": ["hil=simulated", "hil.protocol=demonstrations"],
    "poor_operator": ["hil=simulated", "hil.skill=0.7"],
}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "hil.csv"
SHOWN = (
    "final_success", "final_success_low", "final_success_high", "rollouts_to_0_8_success", "rollouts", "env_steps",
    "hil_success", "hil_cycle_s", "hil_corrected_share", "hil_intervention_rate", "hil_intervention_rate_last",
    "hil_operator_minutes", "hil_out_of_reach_share", "hil_rollouts_demonstrate", "hil_rollouts_return",
    "hil_rollouts_guide", "train_wall_s", "cores", "date", "git_revision",
)  # fmt: skip
"""What a row takes from a run's summary; empty where the arm has none."""


def row(arm: str, seed: int, run: Path, overrides: list[str]) -> dict[str, Any]:
    """The finished run's row of the table."""
    summary = json.loads((run / "summary.json").read_text())
    curve = {entry["rollout"]: entry["success"] for entry in read_metrics(run) if "success" in entry}
    final = summary["final_success"]
    reached = [rollout for rollout, success in curve.items() if success >= 0.8 * final > 0]
    return {
        "arm": arm,
        "seed": seed,
        "rollouts_to_80_percent_of_final": min(reached, default=None),
        **{name: summary.get(name) for name in SHOWN},
        "command": " ".join(["robo-reward train", *overrides]),
    }


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """The rows so far, in place of the table that was there."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments, extra = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        for arm in arguments.arms:
            overrides = [f"seed={seed}", *ARMS[arm], *extra]
            command = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *overrides]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            rows.append(row(arm, seed, Path(load_config(overrides).run.dir), overrides))
            write_table(rows, arguments.result)


if __name__ == "__main__":
    main()

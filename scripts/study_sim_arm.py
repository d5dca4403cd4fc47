"""Training over the wire beside training in one process: the same task, rollouts, horizon and evaluation.

    python scripts/study_sim_arm.py [run.root=FOLDER ...] [--seeds 0 1 2] [--where over_dds in_process] [--list]

`over_dds` is `robo-reward train experiment=sim_arm`, everything over DDS in real time; `in_process` the same settings
without the robot. A line is appended as a run finishes, its command in its last column; what is in the table is passed
over and no line is ever changed, so the study goes on where it was stopped, within a run too. A run that the robot's
faults end is begun again up to `RESTARTS` times, which goes on with it; the line counts them. `--list` prints what is
missing. Each seed takes about an hour over DDS and a quarter of one in the process, on two cores that nobody else uses:
where the machine has other work, pictures come late, and late pictures end episodes.

Files, in docs/results: sim_arm_study.csv, and sim_arm_study.json with the means over the seeds, made anew every time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from robo_reward.config import load_config
from robo_reward.evaluation.growing_table import append_lines, fill

SIZE = (
    "env.horizon=150", "collect.demos=15", "collect.weak=30", "collect.validation=45", "collect.test=15",
    "train.rollouts=100", "train.evaluate_every=25", "train.evaluate_episodes=20", "evaluate.episodes=40",
    "evaluate.videos=2",
)  # fmt: skip
"""What experiment=sim_arm sets beside the robot."""
WHERE = {"over_dds": ("experiment=sim_arm",), "in_process": SIZE}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "sim_arm_study.csv"
RESTARTS = 5
TAKEN = (
    "base_success", "base_success_low", "base_success_high", "final_success", "final_success_low",
    "final_success_high", "difference_low", "difference_high", "rollouts_to_0_8_success", "last_three_evaluations_low",
    "rollouts", "env_steps", "evaluation_episodes", "robot_episodes", "robot_steps", "robot_gated_share",
    "robot_cut_mean", "robot_faults", "robot_age_ms_p50", "robot_age_ms_p99", "robot_age_ms_max", "wall_s", "cores",
    "date", "git_revision",
)  # fmt: skip
"""What a line takes from a run's summary; the robot's figures are empty without one."""
COLUMNS = ("where", "seed", "improvement", "restarts", *TAKEN, "command")
MEANS = ("base_success", "final_success", "improvement", "restarts", "robot_faults", "robot_gated_share", "wall_s")


def command_of(where: str, seed: int, extra: Sequence[str] = ()) -> str:
    """The run as a person would type it; where it is written is no part of it."""
    typed = [word for word in extra if not word.startswith(("run.", "quiet="))]
    return shlex.join(["robo-reward", "train", *WHERE[where], *typed, f"seed={seed}"])


def run(where: str, seed: int, extra: Sequence[str], result: Path) -> None:
    """Train, in a process of its own, and append what came out."""
    words = [*WHERE[where], *extra, f"seed={seed}"]
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *words]
    restarts = 0
    while code := subprocess.run(program, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode:
        print(f"{where}, seed {seed}: ended with exit code {code}", flush=True)
        if restarts == RESTARTS:
            raise SystemExit(f"{where}, seed {seed}: begun {1 + RESTARTS} times and not finished; it says why above")
        restarts += 1
    summary = json.loads((Path(load_config(words).run.dir) / "summary.json").read_text(encoding="utf-8"))
    line = {name: summary.get(name) for name in TAKEN} | {
        "where": where, "seed": seed, "restarts": restarts, "command": command_of(where, seed, extra),
        "improvement": summary["final_success"] - summary["base_success"],
    }  # fmt: skip
    append_lines(result, COLUMNS, [line])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--where", nargs="+", choices=list(WHERE), default=list(WHERE))
    parser.add_argument("--list", action="store_true", help="print the commands that are missing, run nothing")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments, words = parser.parse_known_args()
    cells = [(where, seed) for seed in arguments.seeds for where in arguments.where]
    fill(
        arguments.result, cells, lambda where, seed: command_of(where, seed, words),
        lambda where, seed: run(where, seed, ["quiet=true", *words], arguments.result),
        column="where", names=MEANS, script="python scripts/study_sim_arm.py", only_list=arguments.list,
    )  # fmt: skip


if __name__ == "__main__":
    main()

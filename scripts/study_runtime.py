"""The default experiment under runtime=local, async and ray: does it reach the same success?

    python scripts/study_runtime.py [run.root=FOLDER ...] [--seeds 0 1 2] [--kinds local async ray] [--list]

Each line is one `robo-reward train`, appended as it finishes, its command in its last column; what is in the table is
passed over and no line is ever changed, so the study goes on where it was stopped, within a run too. Everything before
the training is computed once a seed. Async and ray would go on with each other's training, so every runtime has a
folder of its own below `run.root`. One run takes some five minutes on two cores that nobody else uses.

Files, in docs/results: runtime_learning.csv, and runtime_learning.json with the means over the seeds, made anew every
time. The interval of a line is over its evaluation's episodes.
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
from robo_reward.runtime.stages import MARKER

KINDS = ("local", "async", "ray")
SIZE = ("train.rollouts=75", "train.evaluate_every=15")
TRAINED = ("train", "evaluate", "recheck")
"""Stages that every runtime has for itself."""
RESULT = Path(__file__).parents[1] / "docs" / "results" / "runtime_learning.csv"
TAKEN = (
    "base_success", "final_success", "final_success_low", "final_success_high", "rollouts_to_0_8_success",
    "last_three_evaluations_low", "rollouts", "env_steps", "updates", "updates_per_s", "evaluation_episodes", "wall_s",
    "cores", "date", "git_revision",
)  # fmt: skip
COLUMNS = ("runtime", "seed", *TAKEN, "command")
MEANS = ("base_success", "final_success", "env_steps")


def command_of(kind: str, seed: int, extra: Sequence[str] = ()) -> str:
    """The run as a person would type it; where it is written is no part of it."""
    typed = [word for word in extra if not word.startswith(("run.", "quiet="))]
    return shlex.join(["robo-reward", "train", f"runtime={kind}", *SIZE, *typed, f"seed={seed}"])


def share(root: Path, kind: str) -> None:
    """Let a runtime have what others have computed before their training."""
    own = root / kind / "stages"
    own.mkdir(parents=True, exist_ok=True)
    for folder in root.glob("*/stages/*"):
        link = own / folder.name
        if (folder / MARKER).is_file() and folder.name.rsplit("-", 1)[0] not in TRAINED and not link.exists():
            link.symlink_to(folder.resolve())


def run(kind: str, seed: int, root: Path, extra: Sequence[str], result: Path) -> None:
    """Train, in a process of its own, and append what came out."""
    share(root, kind)
    words = [f"runtime={kind}", *SIZE, *extra, f"seed={seed}", f"run.root={root / kind}"]
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *words]
    subprocess.run(program, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    summary = json.loads((Path(load_config(words).run.dir) / "summary.json").read_text(encoding="utf-8"))
    line = {name: summary.get(name) for name in TAKEN}
    append_lines(result, COLUMNS, [{"runtime": kind, "seed": seed, **line, "command": command_of(kind, seed, extra)}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--list", action="store_true", help="print the commands that are missing, run nothing")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments, words = parser.parse_known_args()
    root = Path(load_config(words).run.root)
    extra = [word for word in words if not word.startswith("run.")]
    fill(
        arguments.result, [(kind, seed) for seed in arguments.seeds for kind in arguments.kinds],
        lambda kind, seed: command_of(kind, seed, extra),
        lambda kind, seed: run(kind, seed, root, ["quiet=true", *extra], arguments.result),
        column="runtime", names=MEANS, script="python scripts/study_runtime.py", only_list=arguments.list,
    )  # fmt: skip


if __name__ == "__main__":
    main()

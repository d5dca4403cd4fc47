"""What an operator is worth on PegInsert: no help, takeovers, graded protocol, demonstrations only, a poor operator.

    python scripts/bench_hil.py [run.root=FOLDER ...] [--seeds 0 1 2 3 4] [--arms nobody takeovers] [--list]

The last row is HIL-SERL's option set: SAC from scratch, rewarded by a success classifier, neither shaping nor base.

Each line is one `robo-reward train`, named in full in its column `command`; a command that is in the table already is
passed over and no line is ever changed, so the bench goes on where it was stopped, in the middle of a run too. `--list`
runs nothing and prints the commands that are still missing. The arms of a seed share data and base. About five minutes
a run on two free cores, and five more for a seed's data. Files, in docs/results:

- hil.csv: the final evaluation of every run, without help, and the session that it took;
- hil_curves.csv: every point of every learning curve, the rate of interventions since the one before and the operator's
  minutes until then;
- hil.json: means over the seeds, made anew every time.
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
from typing import Any

from robo_reward.config import load_config
from robo_reward.evaluation.growing_table import append_lines, fill
from robo_reward.runtime.run_folder import read_metrics
from robo_reward.runtime.stages import MARKER
from robo_reward.runtime.tasks import task_of

SAME = ("train.rollouts=75", "train.evaluate_every=15")
ARMS: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "takeovers": ("hil=simulated",),
    "graded": ("hil=simulated", "hil.protocol=graded"),
    "demonstrations": ("hil=simulated", "hil.protocol=demonstrations"),
    "poor_operator": ("hil=simulated", "hil.skill=0.7"),
    "hil_serl": ("agent=hil_serl", "hil=simulated", "reward=classifier", "train.task_reward=completion"),
}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "hil.csv"
TAKEN = (
    "base_success", "final_success", "final_success_low", "final_success_high", "rollouts_to_0_8_success", "rollouts",
    "env_steps", "hil_success", "hil_cycle_s", "hil_corrected_share", "hil_intervention_rate",
    "hil_intervention_rate_last", "hil_operator_minutes", "hil_out_of_reach_share", "hil_rollouts_demonstrate",
    "hil_rollouts_return", "hil_rollouts_guide", "wall_s", "cores", "date", "git_revision",
)  # fmt: skip
"""What a line takes from a run's summary; empty where the arm has none."""
TO_80 = "rollouts_to_80_percent_of_final"
COLUMNS = ("arm", "seed", TO_80, *TAKEN, "command")
CURVE = (
    "arm", "seed", "rollouts", "env_steps", "successes", "episodes", "intervention_rate", "operator_minutes", "command",
)  # fmt: skip
MEANS = ("final_success", TO_80, "hil_operator_minutes", "hil_intervention_rate", "hil_intervention_rate_last")


def command_of(arm: str, seed: int, extra: Sequence[str] = ()) -> str:
    """The run as a person would type it; where it is written is no part of it."""
    typed = [word for word in extra if not word.startswith(("run.", "quiet="))]
    return shlex.join(["robo-reward", "train", *ARMS[arm], *SAME, *typed, f"seed={seed}"])


def curve_of(curve: Sequence[Sequence[int]], metrics: Sequence[dict[str, Any]], fps: int) -> list[dict[str, Any]]:
    """A line for each point of a learning curve, with what the operator did until then.

    Args:
        curve: rollouts, environment steps, successes and episodes of every evaluation.
        metrics: of the run, an entry a rollout; the later one counts where a resumed run told one twice.
        fps: steps a second.
    """
    rollouts = {entry["rollout"]: entry for entry in metrics if "rollout" in entry}
    points, since, minutes = [], 0, 0.0
    for until, env_steps, successes, episodes in curve:
        told = [rollouts[n] for n in range(since + 1, until + 1) if n in rollouts]
        rates = [entry["intervention_rate"] for entry in told if "intervention_rate" in entry]
        minutes += sum(entry.get("intervention_rate", 0.0) * entry["episode_steps"] for entry in told) / fps / 60
        rate = sum(rates) / len(rates) if rates else None
        values = (until, env_steps, successes, episodes, rate, minutes)
        points.append(dict(zip(CURVE[2:-1], values, strict=True)))
        since = until
    return points


def run(arm: str, seed: int, extra: Sequence[str], result: Path) -> None:
    """Train, in a process of its own, and append what came out; the line of the table last, as it says "finished"."""
    words = [*ARMS[arm], *SAME, *extra, f"seed={seed}"]
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *words]
    subprocess.run(program, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    config = load_config(words)
    folder = Path(config.run.dir)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    trained = json.loads((Path(summary["train_folder"]) / MARKER).read_text(encoding="utf-8"))["summary"]
    points = curve_of(trained["curve"], read_metrics(folder), task_of(config.env).fps)
    named = {"arm": arm, "seed": seed, "command": command_of(arm, seed, extra)}
    append_lines(result.with_name(f"{result.stem}_curves.csv"), CURVE, [named | point for point in points])
    least = 0.8 * summary["final_success"]
    reached = [p["rollouts"] for p in points if p["successes"] >= least * p["episodes"] > 0]
    taken = {name: summary.get(name) for name in TAKEN}
    append_lines(result, COLUMNS, [{**taken, **named, TO_80: min(reached, default=None)}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--list", action="store_true", help="print the commands that are missing, run nothing")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments, words = parser.parse_known_args()
    cells = [(arm, seed) for seed in arguments.seeds for arm in arguments.arms]
    fill(
        arguments.result, cells, lambda arm, seed: command_of(arm, seed, words),
        lambda arm, seed: run(arm, seed, ["quiet=true", *words], arguments.result),
        column="arm", names=MEANS, script="python scripts/bench_hil.py", only_list=arguments.list,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The study of the learner: shaping, peers, ablations, reward hacking; a line for each run, appended as it finishes.

    python scripts/study_learning.py [run.root=FOLDER ...] [--group shaping --group peers] [--seeds 0 1 2] [--list]

Each line is one `robo-reward train`, named in full in its column `command`; a command that is in the table already is
passed over and no line is ever changed, so the study goes on where it was stopped, in as many sittings as it takes.
`--list` runs nothing and prints the commands that are still missing. Files, in docs/results:

- learner_tasks.csv: the final evaluation of every run, with the rollouts and environment steps it took;
- learner_curves.csv: every point of every learning curve;
- learner_hacking.csv: success as the reward model believed it and as it was, in blocks of ten rollouts;
- learner_tasks.json: interquartile means over the seeds with stratified bootstrap intervals, made anew every time;
- learner_hacking.json: the beliefs, means over the seeds, likewise.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robo_reward.config import load_config
from robo_reward.evaluation import growing_table
from robo_reward.evaluation.statistics import bootstrap_interval, interquartile_mean
from robo_reward.runtime.stages import MARKER

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TASKS = {
    "peg_insert": ["train.rollouts=75", "train.evaluate_every=15"],
    "peg_insert_long": ["experiment=peg_insert_long", "train.rollouts=90", "train.evaluate_every=15"],
    # About 75k environment steps, and nobody measures every tenth rollout of so many on 40 episodes.
    "nut_assembly": ["experiment=nut_assembly", "train.rollouts=540", "train.evaluate_every=30",
                     "train.evaluate_episodes=25"],
}  # fmt: skip
SHAPINGS = {
    "none": ["shaping=none"],
    "naive": ["shaping=naive"],
    "potential, learned": ["shaping=potential"],
    "potential, oracle": ["shaping=potential", "reward=oracle"],
}
FAMILY = ("absolute", "par", "gated", "contrast", "ra_bc")
PEERS = ("rlpd", "hil_serl", "resfit", "ibrl", "filtered_cloning", "residual_ppo")
WITHOUT = {
    "demonstrations": ["agent.demonstration_share=0", "agent.imitation=0"],
    "n-step returns": ["agent.n_step=1"],
    "layer norm": ["agent.layer_norm=false"],
    "warm-up": ["train.warmup_rollouts=0", "train.warmup_updates=0"],
}
"""How each ingredient of the recipe is left out; a published residual with none of them scored 0, 0 and 97 %."""
OTHERWISE = {
    "scale 0.1": ["agent.residual_scale=0.1"],
    "no imitation term": ["agent.imitation=0"],
    "no symmetry": ["agent.symmetry=false"],
}
OPTIONS = {
    "residual_sac": ["agent=residual_sac"],
    "one head in the target": ["agent.subset=1"],
    "all heads in the target": ["agent.subset=5"],
    "mean of the heads": ["agent.pessimism=0"],
    "two heads move the actor": ["agent.actor_subset=2"],
    "sampled by error": ["agent.priority=0.6"],
    "Q-filter": ["agent.q_filter=true"],
    "imitation of own successes": ["agent.self_imitation=0.5"],
    "start as a clone": ["agent.cloning_updates=1500"],
    "start as a clone, held to it": ["agent.cloning_updates=1500", "agent.prior=0.2"],
    "warm-up kept in sight": ["agent.anchor_share=0.25"],
    "growing reach": ["agent.reach=growing"],
    "learned reach": ["agent.reach=learned"],
    "4 to 8 updates a step": ["agent.updates_per_step=4", "agent.last_updates_per_step=8"],
    "distribution of values": ["agent.value_bins=64"],
    "values start at the potential": ["agent.value_init=potential"],
    "uncorrelated noise": ["agent.noise_correlation=0"],
    "steps back from contact": ["agent.search_chance=0.1"],
    "bfloat16 products": ["agent.precision=bfloat16"],
    "no symmetry": ["agent.symmetry=false"],
}
"""The algorithm's options, each by itself."""
FEW_FRAMES = ["collect.all_frames=false"]
UNSEEN = ["collect.weak=0", "collect.validation=1", "collect.test=1", *FEW_FRAMES]
"""Where no reward model looks, nothing is recorded for one: half an hour in robosuite."""
BELIEFS = {"calibrated": [], "half the score": ["train.done_at=0.5"]}


class Row(NamedTuple):
    """One setting; a run of it for each seed."""

    task: str
    method: str
    shaping: str
    words: tuple[str, ...]
    """What departs from the default, as it is typed."""
    observation: str = "state"


def row(task: str, method: str, shaping: str, words: Sequence[str]) -> Row:
    """A row of this task; `words` beside the task's own."""
    return Row(task, method, shaping, (*words, *TASKS[task]))


ORACLE = SHAPINGS["potential, oracle"]
"""Ablations use the simulator's potential: the same for all, and no reward model to train."""
GROUPS: dict[str, tuple[tuple[int, ...], list[Row]]] = {
    "shaping": ((10, 11, 12, 13, 14), [
        row(task, "residual_td3", name, words) for task in ("peg_insert", "peg_insert_long")
        for name, words in SHAPINGS.items()
    ]),
    "nut": ((10, 11, 12), [
        row("nut_assembly", "residual_td3", "potential, learned", [*SHAPINGS["potential, learned"], *FEW_FRAMES]),
        row("nut_assembly", "residual_td3", "potential, oracle", [*ORACLE, *UNSEEN]),
        row("nut_assembly", "residual_td3", "none", ["shaping=none", *UNSEEN]),
    ]),
    "peers": ((10, 11, 12), [
        row("peg_insert", "residual_sac", "none", ["agent=residual_sac", "shaping=none"]),
        # No peer's paper turns and mirrors its data: ours without that too.
        row("peg_insert", "residual_td3, no symmetry", "none", ["shaping=none", "agent.symmetry=false"]),
        *(row("peg_insert", peer, "none", [f"agent={peer}"]) for peer in PEERS),
    ]),
    "ingredients": ((10, 11), [
        row("peg_insert", "residual_td3", "potential, oracle", ORACLE),
        *(row("peg_insert", f"without {name}", "potential, oracle", [*ORACLE, *words])
          for name, words in WITHOUT.items()),
        row("peg_insert", "with none of the four", "potential, oracle", [*ORACLE, *sum(WITHOUT.values(), [])]),
        *(row("peg_insert", f"with {kept} alone", "potential, oracle",
              [*ORACLE, *(word for name in WITHOUT if name != kept for word in WITHOUT[name])]) for kept in WITHOUT),
        *(row("peg_insert", name, "potential, oracle", [*ORACLE, *words]) for name, words in OTHERWISE.items()),
    ]),
    "reach": ((10, 11, 12, 13, 14), [
        row("peg_insert", "scale 1.0", name, [*SHAPINGS[name], "agent.residual_scale=1.0"])
        for name in ("none", "potential, learned", "potential, oracle")
    ]),
    "turns": ((10,), [
        row("peg_insert_long", "residual_td3, no symmetry", name, [*SHAPINGS[name], "agent.symmetry=false"])
        for name in ("none", "potential, learned", "potential, oracle")
    ]),
    "hacking": ((10, 11, 12), [
        row("peg_insert", f"completion as task reward, {name}", "none",
            ["train.task_reward=completion", "shaping=none", *words]) for name, words in BELIEFS.items()
    ]),
    "bases": ((10, 11, 12), [
        row("peg_insert", "residual_td3 on ACT", "potential, learned", ["base=act"]),
        row("peg_insert", "residual_td3", "potential, learned", ["observation=features"])._replace(
            observation="features"),
    ]),
    "options": ((10, 11), [
        row("peg_insert", name, "potential, oracle", [*ORACLE, *words]) for name, words in OPTIONS.items()
    ]),
    "family": ((10, 11), [
        row("peg_insert", "residual_td3", name, [f"shaping={name}"]) for name in FAMILY
    ]),
}  # fmt: skip
"""Name -> the seeds and rows of a group, in the order in which the study runs them."""
COLUMNS = (
    "group", "task", "method", "shaping", "observation", "seed", "env_steps", "rollouts", "success", "success_low",
    "success_high", "base_success", "rollouts_to_0_8_success", "last_three_evaluations_low", "updates", "wall_s",
    "command", "date", "git_revision",
)  # fmt: skip
CURVE = (
    "task",
    "method",
    "shaping",
    "observation",
    "seed",
    "rollouts",
    "env_steps",
    "successes",
    "episodes",
    "command",
)
HACKING = ("task", "method", "seed", "rollouts", "believed", "true", "fooled", "command")
Line = dict[str, Any]


def command_of(row: Row, seed: int, extra: Sequence[str] = ()) -> str:
    """The run as a person would type it; where it is written is no part of it."""
    typed = [word for word in extra if not word.startswith(("run.", "quiet="))]
    return shlex.join(["robo-reward", "train", *row.words, *typed, f"seed={seed}"])


def read_lines(name: str) -> list[Line]:
    """The lines of a table in docs/results."""
    return list(growing_table.read_lines(RESULTS / name))


def append_lines(name: str, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to a table in docs/results."""
    growing_table.append_lines(RESULTS / name, columns, lines)


def run(group: str, row: Row, seed: int, extra: Sequence[str]) -> None:
    """Train, in a process of its own, and append what came out; the line of the table last, as it says "finished"."""
    words = [*row.words, *extra, f"seed={seed}"]
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *words]
    subprocess.run(program, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    config = load_config(words)
    summary = json.loads((Path(config.run.dir) / "summary.json").read_text(encoding="utf-8"))
    trained = json.loads((Path(summary["train_folder"]) / MARKER).read_text(encoding="utf-8"))["summary"]
    named = {"task": row.task, "method": row.method, "shaping": row.shaping, "observation": row.observation,
             "seed": seed, "command": command_of(row, seed, extra)}  # fmt: skip
    names = ("rollouts", "env_steps", "successes", "episodes")
    curve = [named | dict(zip(names, point, strict=True)) for point in trained["curve"]]
    append_lines("learner_curves.csv", CURVE, curve)
    if config.train.task_reward == "completion":
        with (Path(summary["recheck_folder"]) / "onpolicy.csv").open(newline="", encoding="utf-8") as file:
            blocks = belief_blocks(list(csv.DictReader(file)), config.train.done_at)
        kept = {name: named[name] for name in HACKING if name in named}
        append_lines("learner_hacking.csv", HACKING, [kept | block for block in blocks])
    final = {f"success{end}": summary[f"final_success{end}"] for end in ("", "_low", "_high")}
    taken = {name: summary[name] for name in COLUMNS if name in summary and name not in named}
    append_lines("learner_tasks.csv", COLUMNS, [{**taken, **final, **named, "group": group}])


def belief_blocks(rollouts: Sequence[Mapping[str, str]], threshold: float | None, size: int = 10) -> list[Line]:
    """Shares of believed and true successes, and of failures that were believed, in blocks of `size` rollouts.

    rollouts: rows of the recheck's onpolicy.csv in order; threshold: of the score, None for the calibrated rule.
    """
    blocks = []
    for first in range(0, len(rollouts), size):
        block = rollouts[first : first + size]
        believed = [r["fired"] == "True" if threshold is None else float(r["score"]) >= threshold for r in block]
        true = [r["outcome"] == "success" for r in block]
        fooled = [b and not t for b, t in zip(believed, true, strict=True)]
        shares = {name: sum(flags) / len(block) for name, flags in
                  {"believed": believed, "true": true, "fooled": fooled}.items()}  # fmt: skip
        blocks.append({"rollouts": first + len(block), **shares})
    return blocks


def write_means(missing: Sequence[str]) -> None:
    """learner_tasks.json: interquartile means over the seeds of every row, and what has not been run."""
    in_study = [row for _, rows in GROUPS.values() for row in rows]
    rows: dict[str, list[Line]] = {": ".join(_named(row._asdict())): [] for row in sorted(in_study, key=_task)}
    for line in read_lines("learner_tasks.csv"):
        rows.setdefault(": ".join(_named(line)), []).append(line)
    table = {}
    for name, lines in rows.items():
        if not lines:
            continue
        success = [float(line["success"]) for line in lines]
        reached = [int(line["rollouts_to_0_8_success"]) for line in lines if line["rollouts_to_0_8_success"]]
        late = [float(line["last_three_evaluations_low"]) for line in lines if line["last_three_evaluations_low"]]
        table[name] = {
            "seeds": len(lines),
            "success": [interquartile_mean(success), *bootstrap_interval(success)],
            "lowest_of_the_last_three_evaluations": interquartile_mean(late) if len(late) == len(lines) else None,
            "seeds_that_reached_0_8": len(reached),
            # Of all seeds or of none: those that never got there would be left out of the mean.
            "rollouts_to_0_8_success": interquartile_mean(reached) if len(reached) == len(lines) else None,
        }
    result = {"table": table, "not_run": list(missing), "command": "python scripts/study_learning.py"}
    (RESULTS / "learner_tasks.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def write_beliefs() -> None:
    """learner_hacking.json: mean, least and largest over the seeds of every block of rollouts."""
    shares: dict[str, dict[str, list[float]]] = {}
    for line in read_lines("learner_hacking.csv"):
        block = shares.setdefault(f"to rollout {line['rollouts']}", {})
        for word in ("believed", "true"):
            block.setdefault(f"{line['method'].partition(', ')[2]}: {word}", []).append(float(line[word]))
    table = {
        name: {column: [sum(of) / len(of), min(of), max(of)] for column, of in block.items()}
        for name, block in shares.items()
    }
    result = {"table": table, "command": "python scripts/study_learning.py --group hacking"}
    (RESULTS / "learner_hacking.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _named(line: Mapping[str, Any]) -> list[str]:
    return [line[key] for key in ("task", "method", "shaping", "observation")]


def _task(row: Row) -> int:
    return list(TASKS).index(row.task)


def wanted(groups: Sequence[str], seeds: Sequence[int] | None) -> list[tuple[str, Row, int]]:
    """The runs of these groups, seed by seed in each, so that an unfinished table is level."""
    found = []
    for group in groups:
        own, rows = GROUPS[group]
        found += [(group, row, seed) for seed in seeds or own for row in rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="default: all, in this order")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the group's own")
    parser.add_argument("--list", action="store_true", help="print the commands that are missing, run nothing")
    arguments, words = parser.parse_known_args()
    runs = wanted(arguments.group or list(GROUPS), arguments.seeds)

    def missing() -> list[tuple[str, Row, int]]:
        known = {line["command"] for line in read_lines("learner_tasks.csv")}
        return [entry for entry in runs if command_of(entry[1], entry[2], words) not in known]

    if arguments.list:
        print("\n".join(command_of(row, seed, words) for _, row, seed in missing()))
        return
    for group, row, seed in missing():
        print(f"{group}: {row.task}, {row.method}, {row.shaping}, seed {seed}", flush=True)
        run(group, row, seed, ["quiet=true", *words])
        write_means([command_of(other, number, words) for _, other, number in missing()])
        write_beliefs()


if __name__ == "__main__":
    main()

"""Simulation against a "reality" with hidden parameters, the simulated arm, into docs/results/sim2real.json.

    python scripts/study_sim_to_real.py plan identify
    python scripts/study_sim_to_real.py correlate --run runs/train-peg_insert-s0-... [setting=value ...]
    python scripts/study_sim_to_real.py session --run runs/train-... [setting=value ...]

plan: how often the sequential session tells 80 from 95 % and how often it errs, exactly and on simulated outcomes.
identify: five arms with hidden gains, damping, friction and latency, each recorded over topics (in this process, faster
    than real time) and fitted; error on a held-out recording before and after.
correlate: base and trained policy of the run in six worlds, in the nominal simulation, in the identified one, and on
    the first hidden arm from other initial states; correlation, rank violation and gaps before and after.
session: a blind session of trained against base on the simulated arm over DDS, in real time; wants a quiet machine.
A part that is there is made again only when it is asked for; finished evaluations are reused.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.config import load_config
from robo_reward.evaluation.identification import (
    ArmParameters,
    Excitation,
    fit,
    save_parameters,
    trajectory_error,
)
from robo_reward.evaluation.sequential import BETTER, decide, plan, power
from robo_reward.runtime.comparing import TABLE
from robo_reward.runtime.pipeline import evaluate
from robo_reward.testing.recorded_arm import hidden_parameters, record_sim_arm

RESULT = Path(__file__).parents[1] / "docs" / "results" / "sim2real.json"
ARMS = (0, 1, 2, 3, 4)
"""Seeds of the hidden arms; the first is the reality of `correlate`."""
CONDITIONS = ("none", "friction:2", "size:2", "perception:2", "action_latency:2", "control_noise:2")


def plan_part() -> dict[str, Any]:
    """80 against 95 %, outcomes independent and from policies that fail on the same states."""
    test = plan(0.8, 0.95)
    exact, expected = power(test, 0.8, 0.95)
    rng, trials, pairs = np.random.default_rng(0), 5000, test.looks[-1]

    def called(first: float, second: float) -> float:
        outcomes = rng.random((trials, 2, pairs)) < [[first], [second]]
        return float(np.mean([decide(a, b, test).verdict == BETTER for a, b in outcomes]))

    return {
        "pairs_at_most": pairs, "looks": list(test.looks), "one_sided_error": test.error, "power_exact": exact,
        "pairs_expected": expected, "power_simulated": called(0.8, 0.95),
        "power_exact_same_failures": power(test, 0.8, 0.95, both=0.8)[0],
        "error_simulated_at_0_8": called(0.8, 0.8), "error_simulated_at_0_95": called(0.95, 0.95),
        "simulated_sessions": trials,
    }  # fmt: skip


def identify_part(folder: Path) -> dict[str, Any]:
    """Every hidden arm found from two recordings; the error on a third."""
    env, arms = gymnasium.make("robo_reward/PegInsert-v0").unwrapped, {}
    for seed in ARMS:
        logs = [record_sim_arm(seed, scene, Excitation(scene, 100), 180) for scene in (1, 2)]
        held_out = [record_sim_arm(seed, 11, Excitation(11, 100), 180)]
        found, truth = fit(env, logs), hidden_parameters(seed)
        save_parameters(found, folder / f"arm-{seed}.json")
        wrong = np.abs(np.log([*found.stiffness, *found.damping]) - np.log([*truth.stiffness, *truth.damping]))
        before = np.abs(np.log([*truth.stiffness, *truth.damping]))
        arms[str(seed)] = {
            "held_out_before": trajectory_error(env, held_out, ArmParameters()),
            "held_out_after": trajectory_error(env, held_out, found),
            "gain_error_before": float(before.mean()), "gain_error_after": float(wrong.mean()),
            "friction": found.friction, "friction_hidden": truth.friction,
            "latency_s": found.latency_s, "latency_s_hidden": truth.latency_s,
        }  # fmt: skip
        print(seed, json.dumps(arms[str(seed)]), flush=True)
    mean = {
        f"{kind}_{unit}": float(np.mean([arm[f"held_out_{kind}"][unit] for arm in arms.values()]))
        for kind in ("before", "after")
        for unit in ("position_mm", "rotation_mrad")
    }
    return {"held_out_mean": mean, "arms": arms}


def correlate_part(run: Path, folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """How well nominal and identified simulation predict the first hidden arm."""
    identified = folder / f"arm-{ARMS[0]}.json"
    if not identified.exists():
        identify_part(folder)
    hidden = folder / "hidden.json"
    save_parameters(hidden_parameters(ARMS[0]), hidden)
    worlds = {
        "nominal": ["evaluate.first_seed=300000"],
        "identified": ["evaluate.first_seed=300000", f"env.arm={identified}"],
        "reality": ["evaluate.first_seed=400000", f"env.arm={hidden}"],
    }
    sides = {}
    for name, own in worlds.items():
        folders = []
        for condition in CONDITIONS:
            out = folder / f"{name}-{condition.replace(':', '')}"
            perturb = [f"perturb={condition}"] if condition != "none" else []
            print(name, condition, flush=True)
            evaluate(load_config(["quiet=true", *own, *perturb, *words, f"policies=base:{run},{run}",
                                  f"run.dir={out}"], "evaluate"))  # fmt: skip
            folders.append(str(out))
        sides[name] = "+".join(folders)
    found: dict[str, Any] = {"run": run.name, "conditions": list(CONDITIONS)}
    for name in ("nominal", "identified"):
        summary = evaluate(load_config(["quiet=true", f"compare={sides[name]},{sides['reality']}",
                                        f"run.dir={folder / name}"], "evaluate"))  # fmt: skip
        kept = ("pearson", "mmrv", "compared")
        found[name] = {key: value for key, value in summary.items() if key in kept or key.startswith("gap_")}
    return found


def session_part(run: Path, folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """Base against trained on the simulated arm over the wire, blind."""
    summary = evaluate(load_config(["experiment=sim_arm", "evaluate.looks=4", "evaluate.episodes=60", *words,
                                    f"policies=base:{run},{run}", f"run.dir={folder / 'session'}"],
                                   "evaluate"))  # fmt: skip
    with (folder / "session" / TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = {key: value for key, value in summary.items() if key not in ("command_line", "wall_s")}  # of the last part
    return {"run": run.name, **kept,
            "success": {name: [float(row[key]) for key in ("success", "low", "high")]
                        for name, row in zip(("base", "trained"), rows, strict=True)}}  # fmt: skip


def table_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of the parts that are there, for the tables of the docs."""
    table: dict[str, dict[str, Any]] = {}
    if plan_found := found.get("plan"):
        table["80 against 95%: pairs at most"] = {"value": plan_found["pairs_at_most"]}
        table["80 against 95%: pairs on average"] = {"value": plan_found["pairs_expected"]}
        table["80 against 95%: power"] = {"value": plan_found["power_exact"]}
        table["80 against 80%: false verdicts, simulated"] = {"value": plan_found["error_simulated_at_0_8"]}
    if identified := found.get("identify"):
        mean = identified["held_out_mean"]
        for unit, words in (("position_mm", "position [mm]"), ("rotation_mrad", "rotation [mrad]")):
            table[f"held-out error of the {words}"] = {
                "before identification": mean[f"before_{unit}"], "after": mean[f"after_{unit}"],
            }  # fmt: skip
    if correlated := found.get("correlate"):
        for key, words in (("pearson", "correlation"), ("mmrv", "mean maximum rank violation")):
            table[f"{words} over {correlated['nominal']['compared']} rates"] = {
                "before identification": correlated["nominal"][key], "after": correlated["identified"][key],
            }  # fmt: skip
    if session := found.get("session"):
        for name, figures in session["success"].items():
            table[f"over DDS, {name} policy: success"] = {"value": figures}
        table["over DDS: pairs to the verdict"] = {"value": session.get("decision_pairs")}
        table["over DDS: operator's and completion's labels agree"] = {"value": session.get("label_agreement")}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", help="plan, identify, correlate, session; then settings")
    parser.add_argument("--run", type=Path, help="finished run of train, for correlate and session")
    parser.add_argument("--folder", type=Path, default=Path("runs/sim2real"), help="of recordings and evaluations")
    arguments = parser.parse_args()
    words = [word for word in arguments.parts if "=" in word]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for part in (word for word in arguments.parts if "=" not in word):
        if part in ("correlate", "session") and arguments.run is None:
            parser.error(f"{part} needs --run, the folder of a finished run of train")
        command = ["python scripts/study_sim_to_real.py", part]
        if part in ("correlate", "session"):
            command.append(f"--run runs/{arguments.run.name}")
        command += [word for word in words if not word.startswith("run.")]
        if part == "plan":
            result = plan_part()
        elif part == "identify":
            result = identify_part(arguments.folder)
        elif part == "correlate":
            result = correlate_part(arguments.run, arguments.folder, words)
        elif part == "session":
            result = session_part(arguments.run, arguments.folder, words)
        else:
            parser.error(f"unknown part {part!r}: plan, identify, correlate, session")
        found[part] = {**result, "command": " ".join(command)}
        found |= {"table": table_of(found), "command": "python scripts/study_sim_to_real.py PART"}
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

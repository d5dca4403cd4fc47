"""What a run on a robot shows of it: actions requested and executed, the gate's cuts, ages and faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from robo_reward.evaluation import plots, report
from robo_reward.hardware.robot_config import JOINT_COMMANDS, RobotConfig
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.worlds import ROBOT_LOG

AXES = ("x", "y", "z", "turn about x", "turn about y", "turn about z")


def action_names(robot: RobotConfig) -> list[str]:
    """What an action's numbers move, in order."""
    names = robot.joints if robot.command in JOINT_COMMANDS else AXES
    return [names[axis] for axis in robot.axes] + ["gripper"] * bool(robot.gripper)


def read_log(stage: StageResult) -> list[dict[str, Any]]:
    """A stage's episodes on the robot, in the order in which they ended; none where it moved none."""
    path = stage.path / ROBOT_LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def robot_summary(stages: Sequence[StageResult]) -> dict[str, float]:
    """Flat figures over all steps of these stages; empty where no robot moved."""
    episodes = [episode for stage in stages for episode in read_log(stage)]
    return {f"robot_{name}": value for name, value in _figures(episodes).items()} if episodes else {}


def robot_sections(stages: Sequence[StageResult], names: Sequence[str], fps: int) -> list[report.Section]:
    """A table of the stages and the longest of the last ten episodes, executed against requested.

    Args:
        stages: those that may have moved the robot.
        names: of an action's numbers, in order.
        fps: actions a second.
    """
    logs = {stage.name: log for stage in stages if (log := read_log(stage))}
    if not logs:
        return []
    rows = []
    for stage, episodes in logs.items():
        f = _figures(episodes)
        ages = f"{f['age_ms_p50']:.1f}, {f['age_ms_p99']:.1f}, {f['age_ms_max']:.1f}"
        rows.append([stage, int(f["episodes"]), int(f["steps"]), f"{f['gated_share']:.2%}", f"{f['cut_mean']:.3f}",
                     int(f["faults"]), ages])  # fmt: skip
    faults = Counter(_plain(e["fault"]) for log in logs.values() for e in log if e["fault"])
    told = "; ".join(f"{text} ({count})" for text, count in faults.most_common(5))
    shown = max(list(logs.values())[-1][-10:], key=lambda episode: episode["steps"])
    requested, executed = np.array(shown["requested"]), np.array(shown["executed"])
    panels = {name: {"requested": requested[:, i], "executed": executed[:, i]} for i, name in enumerate(names)}
    return [
        report.table(
            "On the robot",
            ["stage", "episodes", "steps", "steps cut by the gate", "mean cut", "episodes ended by a fault",
             "age of the state [ms]: p50, p99, max"],
            rows,
            note="A cut is what the gate took off an action, in action units, over the steps that it cut. "
            + (f"Faults: {told}." if told else "No faults."),
        ),
        report.figure(
            "Actions, requested and executed", plots.reward_terms(panels, seconds_per_step=1 / fps),
            "what the policy asked for and what the gate let through, axis by axis",
            f"One of the last episodes, seed {shown['seed']}, in action units.",
        ),
    ]  # fmt: skip


def _figures(episodes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of episodes that hold a step at least."""
    moved = [episode for episode in episodes if episode["steps"]]
    differences = [np.abs(np.array(e["requested"]) - np.array(e["executed"])).max(1) for e in moved]
    cut = np.concatenate(differences) if moved else np.zeros(0)
    ages = np.concatenate([e["age_ms"] for e in moved]) if moved else np.zeros(1)
    hit = cut[cut > 2e-3]  # the log is rounded
    return {
        "episodes": float(len(episodes)), "steps": float(len(cut)), "gated_share": len(hit) / max(len(cut), 1),
        "cut_mean": float(hit.mean()) if len(hit) else 0.0, "faults": float(sum(bool(e["fault"]) for e in episodes)),
        "age_ms_p50": float(np.percentile(ages, 50)), "age_ms_p99": float(np.percentile(ages, 99)),
        "age_ms_max": float(ages.max()),
    }  # fmt: skip


def _plain(fault: str) -> str:
    """A fault without its numbers, so that equal ones are counted together."""
    return " ".join(word for word in fault.split() if not any(letter.isdigit() for letter in word))

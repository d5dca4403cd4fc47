"""Make the README's tables and pictures anew, and print old against new: `python scripts/reproduce.py [NAME ...]`.

Each name is a target of its own (`make reproduce-NAME`); without one all are made, which takes hours. Commands go on
where they were stopped, so an interrupted call is simply repeated. "Old" is what the last commit holds.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robo_reward.runtime.run_folder import list_runs

ROOT = Path(__file__).parents[1]


class Target(NamedTuple):
    """What is made anew."""

    command: str
    """`robo-reward ...`, whose newest run is then published, or a script of this folder, which writes its own file."""
    makes: str
    """The file, relative to the repository."""


TARGETS = {
    "default_run": Target("robo-reward train", "docs/results/default_run.json"),
    "learner_tasks": Target("study_learning.py", "docs/results/learner_tasks.json"),
    "peg_insert": Target("study_peg_insert.py", "docs/results/peg_insert.json"),
    "reward_sim": Target("robo-reward bench-reward suite=sim", "docs/results/reward_sim.json"),
    "picture": Target("readme_picture.py", "docs/images/peg_insert.png"),
}


def main(names: Sequence[str], targets: Mapping[str, Target] = TARGETS, root: Path = ROOT) -> int:
    """Make them one after the other; returns the exit code of the first that fails, else 0."""
    for name in names or targets:
        if name not in targets:
            print(f"no target {name!r}: choose from {', '.join(targets)}", file=sys.stderr)
            return 2
    for name in names or targets:
        target = targets[name]
        print(f"{name}: {target.command}", flush=True)
        if code := make(name, target, root):
            print(f"{name}: stopped with {code}; the same command goes on from there", file=sys.stderr)
            return code
        if target.makes.endswith(".json"):
            old, new = committed(target.makes, root), json.loads((root / target.makes).read_text("utf-8"))
            print("\n".join(compared(old, new)), flush=True)
    return subprocess.run([sys.executable, root / "scripts" / "readme_tables.py"], cwd=root, check=False).returncode


def make(name: str, target: Target, root: Path) -> int:
    """Run the command, and publish what it leaves; its exit code."""
    first, *rest = shlex.split(target.command)
    if first != "robo-reward":
        return subprocess.run([sys.executable, root / "scripts" / first, *rest], cwd=root, check=False).returncode
    program = "import sys; sys.argv[0] = 'robo-reward'; from robo_reward.cli import main; main()"
    code = subprocess.run([sys.executable, "-c", program, *rest], cwd=root, check=False).returncode
    if code:
        return code
    typed = [run for run in list_runs(root / "runs") if run["summary"].get("command_line") == target.command]
    publish = [sys.executable, root / "scripts" / "publish_run.py", typed[-1]["path"], name]
    return subprocess.run(publish, cwd=root, check=False).returncode


def committed(path: str, root: Path) -> dict[str, Any]:
    """The file as of the last commit; empty where there is none."""
    answer = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=root, capture_output=True, text=True, check=False)
    return dict(json.loads(answer.stdout)) if answer.returncode == 0 else {}


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line a figure that is in either: old, new, and whether their intervals meet where both have one."""
    before, after = figures(old), figures(new)
    lines = []
    for name in dict.fromkeys([*before, *after]):
        one, two = before.get(name), after.get(name)
        verdict = ""
        if one and two and len(one) == len(two) == 3:
            verdict = "  intervals meet" if one[1] <= two[2] and two[1] <= one[2] else "  APART"
        lines.append(f"  {name:<60} {_shown(one):>26}  ->  {_shown(two):<26}{verdict}")
    return lines


def figures(results: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Figures of a result file, with their interval where it is told: `x` beside `x_low` and `x_high` (of
    `x_success` also without the last word), a table's [mean, low, high]."""
    found: dict[str, tuple[float, ...]] = {}
    for row, cells in results.get("table", {}).items():
        for column, value in cells.items():
            if value is not None:
                found[f"{row}: {column}"] = tuple(value) if isinstance(value, list) else (value,)
    for name, value in results.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or name.endswith(("_low", "_high")):
            continue
        stem = name if f"{name}_low" in results else name.removesuffix("_success")
        ends = tuple(results.get(f"{stem}_{side}") for side in ("low", "high"))
        found[name] = (value, *ends) if None not in ends else (value,)  # type: ignore[arg-type]
    return found


def _shown(figure: tuple[float, ...] | None) -> str:
    if figure is None:
        return "–"
    value, *ends = figure
    return f"{value:.4g}" + (f" ({ends[0]:.3g} to {ends[1]:.3g})" if len(ends) == 2 else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Write the README's result tables from docs/results/*.json: `python scripts/readme_tables.py [--check]`.

Every block between `<!-- results:NAME -->` and `<!-- /results -->` is made from docs/results/NAME.json, so a published
figure cannot be typed by hand. `--check` changes nothing and exits with 1 when the README differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- /results -->)", re.DOTALL)
TRAINING = {
    "rollouts": ("online rollouts", "{:,.0f}"),
    "env_steps": ("environment steps", "{:,.0f}"),
    "rollouts_to_0_8_success": ("rollouts to 80% success", "{:,.0f}"),
    "updates_per_s": ("critic updates per second", "{:,.0f}"),
    "wall_s": ("wall time [s]", "{:,.0f}"),
}
REWARD = {
    "reward_voc": ("order correlation on successes (VOC)", "{:.3f}"),
    "reward_vroc": ("order correlation on reversed successes (VROC)", "{:.3f}"),
    "reward_progress_error": ("progress error, successes", "{:.3f}"),
    "reward_progress_error_failure": ("progress error, failures", "{:.3f}"),
    "reward_success_auc": ("success AUC, length-matched", "{:.3f}"),
    "reward_success_auc_8_before_end": ("success AUC, length-matched, 8 steps before the end", "{:.3f}"),
    "reward_alignment_rank_correlation": ("rank correlation with the oracle, alignment", "{:.3f}"),
    "reward_wrong_instruction_accuracy": ("wrong instruction recognised", "{:.3f}"),
    "reward_label_floor": ("error of the labels themselves, successes", "{:.3f}"),
}


def success_rows(results: dict[str, Any]) -> list[str]:
    """Base, trained and every `control_<name>_success`, with their intervals where the file has them."""
    keys = {"base policy, frozen": "base_success", "**trained policy**": "final_success"}
    seeds = [key for key in results if re.fullmatch(r"seed[1-9]\d*_final_success", key)]
    keys |= {f"trained policy, seed {key[4:].split('_')[0]}": key for key in seeds}
    controls = [key for key in results if re.fullmatch(r"control_(?!\w+_rollouts_to)\w+_success", key)]
    keys |= {key.removeprefix("control_").removesuffix("_success").replace("_", " "): key for key in controls}
    rows = ["| policy | success | 95% interval |", "| --- | ---: | ---: |"]
    for name, key in keys.items():
        stem = key if key.endswith("final_success") or f"{key}_low" in results else key.removesuffix("_success")
        low, high = (results.get(f"{stem}_{side}") for side in ("low", "high"))
        interval = "–" if low is None or high is None else f"{low:.1%} to {high:.1%}"
        rate = results.get(key)
        rows.append(f"| {name} | {'–' if rate is None else f'{rate:.1%}'} | {interval} |")
    return rows


def measure_rows(title: str, results: dict[str, Any], measures: dict[str, tuple[str, str]]) -> list[str]:
    """One row for each measure that the file has; None is "never" (a threshold that was not reached)."""
    known = [(label, form, results[key]) for key, (label, form) in measures.items() if key in results]
    cells = [f"| {label} | {'never' if value is None else form.format(value)} |" for label, form, value in known]
    return ["", f"| {title} | |", "| --- | ---: |", *cells] if cells else []


def block(results: dict[str, Any]) -> str:
    """The Markdown between the markers of one result file."""
    lines = success_rows(results) + measure_rows("training", results, TRAINING)
    lines += measure_rows("reward model, held-out episodes", results, REWARD)
    facts = [
        f"{key.replace('_', ' ')} {results[key]}"
        for key in ("seeds", "cores", "date", "git_revision")
        if key in results
    ]
    lines += ["", f"Command: `{results['command']}`" + (f" ({', '.join(facts)})" if facts else "")]
    return "\n".join(["", *lines, "", ""])


def fill(readme: str, folder: Path) -> str:
    """The README with every block made anew."""
    if readme.count("<!-- results:") != len(BLOCK.findall(readme)):
        raise ValueError("README.md has a results marker without its <!-- /results --> line")
    return BLOCK.sub(lambda m: m[1] + block(json.loads((folder / f"{m[2]}.json").read_text("utf-8"))) + m[3], readme)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="exit with 1 when the README differs; change nothing")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="repository (default: this one)")
    arguments = parser.parse_args()
    readme = arguments.root / "README.md"
    try:
        old = readme.read_text("utf-8")
        new = fill(old, arguments.root / "docs" / "results")
    except (OSError, KeyError, ValueError) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if old == new:
        return 0
    if arguments.check:
        print("README.md differs from docs/results; run: python scripts/readme_tables.py", file=sys.stderr)
        return 1
    readme.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write the result tables of README and docs from docs/results/*.json: `python scripts/readme_tables.py [--check]`.

Every block between `<!-- results:NAME -->` and `<!-- /results -->` is made from docs/results/NAME.json, so a published
figure cannot be typed by hand. `--check` changes nothing and exits with 1 when a page differs.
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
ROBOT = {
    "robot_episodes": ("episodes", "{:,.0f}"),
    "robot_steps": ("steps", "{:,.0f}"),
    "robot_gated_share": ("steps cut by the gate", "{:.1%}"),
    "robot_cut_mean": ("mean cut, in action units", "{:.2f}"),
    "robot_faults": ("episodes ended by a fault", "{:,.0f}"),
    "robot_age_ms_p50": ("age of the state, p50 [ms]", "{:.1f}"),
    "robot_age_ms_p99": ("age of the state, p99 [ms]", "{:.1f}"),
    "robot_age_ms_max": ("age of the state, longest [ms]", "{:.1f}"),
}
COLUMNS = {
    "progress_error": "error, successes",
    "progress_error_failure": "error, failures",
    "voc": "VOC",
    "vroc": "VROC",
    "success_auc_8_before_end": "AUC, 8 before end",
    "alignment_rank_correlation": "rank corr., alignment",
    "wrong_instruction_accuracy": "wrong instruction",
    "stall_drift_per_100_frames": "drift per 100 frames",
    "regression_recall": "regressions noticed",
    "three_way_accuracy": "three-way accuracy",
    "seeds_that_reached_0_8": "seeds that reached 80%",
    "rollouts_to_0_8_success": "rollouts to 80%",
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
    """One row for each measure that the file has; None is "never" for a threshold, else not defined."""
    cells = []
    for key, (label, form) in measures.items():
        if key in results:
            unknown = "never" if key.startswith("rollouts_to") else "–"
            cells.append(f"| {label} | {unknown if results[key] is None else form.format(results[key])} |")
    return ["", f"| {title} | |", "| --- | ---: |", *cells] if cells else []


def fault_rows(results: dict[str, Any]) -> list[str]:
    """One row for each row of the fault table."""
    lines = ["| row | faults | injected | held | control failed | tier |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for name, row in results["rows"].items():
        control = "none" if row["control_failed"] is None else row["control_failed"]
        cells = (name, "; ".join(row["what"]), row["injected"], row["held"], control, row["tier"].replace("_", " "))
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


SUITE = {
    "progress_error_success": "progress error, successes",
    "progress_error_failure": "progress error, failures",
    "success_auc_length_matched": "success AUC, length-matched",
    "success_auc_8_before_end": "the same, 8 steps before the end",
    "completion_accuracy": "success, partial or failure",
    "false_success_rate": "failures called a success",
    "wrong_instruction_recognised": "wrong instruction recognised",
    "static_drift_per_100": "drift per 100 frames of a static clip",
    "voc": "order correlation (VOC)",
    "vroc": "order correlation, reversed (VROC)",
}
LOWER_IS_BETTER = ("error", "false", "drift")


def suite_rows(results: dict[str, Any]) -> list[str]:
    """A column for each task: every metric with its interval, and under it the best of the controls."""
    tasks = [key.removesuffix("_voc") for key in results if key.endswith("_voc") and not key.startswith("control_")]
    lines = ["| | " + " | ".join(task.replace("_", " ") for task in tasks) + " |", "| --- |" + " ---: |" * len(tasks)]
    for metric, name in SUITE.items():
        best = min if any(word in metric for word in LOWER_IS_BETTER) else max
        cells, against = [], []
        for task in tasks:
            value, low, high = (results.get(f"{task}_{metric}{suffix}") for suffix in ("", "_low", "_high"))
            cells.append("–" if value is None else f"{value:.3f} ({low:.3f} to {high:.3f})")
            stem = f"_{task}_{metric}"
            rivals = [v for k, v in results.items() if k.startswith("control_") and k.endswith(stem) and v is not None]
            against.append(f"{best(rivals):.3f}" if rivals else "–")
        lines += [f"| {name} | " + " | ".join(cells) + " |", "| best control | " + " | ".join(against) + " |"]
    return lines


def table_rows(results: dict[str, Any]) -> list[str]:
    """One row for each of the file's, with mean, least and largest over its seeds, or one value."""
    columns = list(dict.fromkeys(name for row in results["table"].values() for name in row))
    heads = [COLUMNS.get(name, name.replace("_", " ")) for name in columns]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, row in results["table"].items():
        cells = []
        for value in map(row.get, columns):
            mean, *ends = value if isinstance(value, list) else [value]
            spread = f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends and ends[0] != ends[1] else ""
            number = f"{mean}" if isinstance(mean, int) else f"{mean:.3f}" if mean is not None else "–"
            cells.append(number + spread)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def plain_rows(results: dict[str, Any]) -> list[str]:
    """Every number under its own name, the unit being its last word; ends of intervals stay in the file."""
    cells = [f"| {key.replace('_', ' ')} | {value:,.4g} |" for key, value in results.items()
             if isinstance(value, (int, float)) and key != "cores" and not key.endswith(("_low", "_high"))]  # fmt: skip
    return ["| measure | |", "| --- | ---: |", *cells]


def block(results: dict[str, Any]) -> str:
    """The Markdown between the markers of one result file."""
    if "table" in results:
        lines = table_rows(results)
    elif "rows" in results:
        lines = fault_rows(results)
    elif any(key.startswith("control_") and key.endswith("_voc") for key in results):
        lines = suite_rows(results)
    elif "final_success" in results:
        lines = success_rows(results) + measure_rows("training", results, TRAINING)
        lines += measure_rows("reward model, held-out episodes", results, REWARD)
        lines += measure_rows("on the robot", results, ROBOT)
    else:
        lines = plain_rows(results)
    facts = [
        f"{key.replace('_', ' ')} {results[key]}"
        for key in ("lines_missing", "seeds", "cores", "date", "git_revision")
        if results.get(key)
    ]
    lines += ["", f"Command: `{results['command']}`" + (f" ({', '.join(facts)})" if facts else "")]
    return "\n".join(["", *lines, "", ""])


def fill(page: str, folder: Path) -> str:
    """The page with every block made anew."""
    if page.count("<!-- results:") != len(BLOCK.findall(page)):
        raise ValueError("a results marker lacks its <!-- /results --> line")
    return BLOCK.sub(lambda m: m[1] + block(json.loads((folder / f"{m[2]}.json").read_text("utf-8"))) + m[3], page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a page differs; change nothing")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="repository (default: this one)")
    arguments = parser.parse_args()
    differ = []
    for page in [arguments.root / "README.md", *sorted((arguments.root / "docs").glob("*.md"))]:
        try:
            old = page.read_text("utf-8")
            new = fill(old, arguments.root / "docs" / "results")
        except (OSError, KeyError, ValueError) as error:
            print(f"error: {page.name}: {type(error).__name__}: {error}", file=sys.stderr)
            return 2
        if old != new:
            differ.append(page.name)
            if not arguments.check:
                page.write_text(new, "utf-8")
    if differ and arguments.check:
        print(f"{', '.join(differ)} differ from docs/results; run: python scripts/readme_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

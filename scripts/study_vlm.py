"""A small vision-language model, trained from scratch by the fine-tuning command, against constant and controls.

    python scripts/study_vlm.py [--data FOLDER] [--model FOLDER] [run.root=FOLDER] [more Hydra overrides]
    python scripts/study_vlm.py [run.root=FOLDER] --model FOLDER --train 0 1 2

Trains `experiment=small_vlm` unless FOLDER names a model that it left, and measures it on test episodes as
`bench-reward` does. Writes tiny_hop_mae, constant_hop_mae, tiny_vroc, tiny_success_auc and the controls into
docs/results/vlm.json, whose other entries stay.

With --train the policy is trained with that model's potential, and with the compact model's beside it, once a seed;
each run adds a line to docs/results/vlm_train.csv. A command that is in the table is passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from robo_reward.config import Config, load_config
from robo_reward.evaluation.growing_table import append_lines, read_lines
from robo_reward.progress.bench.method import control_methods, model_method
from robo_reward.progress.bench.suite import BenchSettings, bench
from robo_reward.progress.grm_reward import REFERENCES
from robo_reward.progress.grm_tuning import hop_errors
from robo_reward.progress.models.grm import GrmSettings, load_grm
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.grm_tuning import MODEL, questions_about, tune_stage
from robo_reward.runtime.run_folder import git_revision
from robo_reward.runtime.stages import MARKER, StageResult
from robo_reward.runtime.tasks import task_of

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "vlm.json"
TABLE = RESULTS.with_name("vlm_train.csv")
SIZE = ("train.rollouts=75", "train.evaluate_every=15")
TAKEN = (
    "base_success", "final_success", "final_success_low", "final_success_high", "difference_low", "difference_high",
    "rollouts_to_0_8_success", "last_three_evaluations_low", "rollouts", "env_steps", "wall_s", "cores", "date",
    "git_revision",
)  # fmt: skip
COLUMNS = ("reward", "seed", *TAKEN, "command")
ASKED = 512
"""Questions about test episodes that the hop error is the mean of."""
BATCH = 64
METRICS = ("progress_error", "progress_error_failure", "success_auc", "success_auc_8_before_end", "voc", "vroc")


def measure(config: Config, data: StageResult, folder: Path) -> dict[str, Any]:
    """The entries of the results file."""
    views, every = config.env.cameras, config.collect.query_every
    size, stages = config.env.image_size, len(task_of(config.env).stages)
    model = load_grm(GrmSettings(str(folder), views=views, image_size=size, stages=stages, batch=BATCH, device="cpu"))
    asked = questions_about(config, data, ASKED, "test")
    errors = hop_errors(model.vlm, [asked], BATCH)
    demos, test = (collecting.read_split(data.path, split, every, views) for split in ("demos", "test"))
    references = References.from_demonstrations(demos, REFERENCES)
    method = model_method(RewardModel(model, references, steps.reward_settings(config, stages).tracker), "small_vlm")
    horizon = config.env.horizon
    rows = bench([method, *control_methods(method, test, horizon, stages)], test, BenchSettings(horizon, stages))
    kept = {row["method"]: {f"{m}{s}": row[f"{m}{s}"] for m in METRICS for s in ("", "_low", "_high")} for row in rows}
    own = kept.pop(method.name)
    controls = {row["method"]: kept[row["method"]] for row in rows if row["control"]}
    beaten = {
        "success_auc": all(own["success_auc"] > c["success_auc"] for c in controls.values()),
        "progress_error_failure": all(
            own["progress_error_failure"] < c["progress_error_failure"] for c in controls.values()
        ),
        "hop_mae": errors["hop_mae"] < errors["constant_hop_mae"],
    }
    return {
        "tiny_hop_mae": round(errors["hop_mae"], 4),
        "constant_hop_mae": round(errors["constant_hop_mae"], 4),
        "tiny_hop_questions": errors["questions"],
        "tiny_vroc": own["vroc"],
        "tiny_success_auc": own["success_auc"],
        "tiny": own,
        "tiny_beats_all_controls": beaten,
        "controls": controls,
        "floor_and_bound": {name: row for name, row in kept.items() if name not in controls},
        "tiny_model_id": model.model_id,
        "tiny_parameters": sum(p.numel() for p in model.vlm.model.parameters()),
        "tiny_patches": "8 x 8 of 14 px a picture (84 px frames scaled to 112 px), 1 token a picture",
        "tiny_test_episodes": len(test),
    }


def recorded(folder: Path) -> StageResult:
    """A finished stage of another version's run."""
    found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    return StageResult(found["name"], folder, found["digest"], found["summary"], found["wall_s"], reused=True)


def train(model: str, seeds: Sequence[int], words: Sequence[str]) -> None:
    """A line of the table for each seed, with the small model's potential and with the compact model's."""
    rewards = {"small_vlm": ["reward=grm", f"reward.model={model}"], "compact": []}
    for name, chosen in rewards.items():
        for seed in seeds:
            shown = [word for word in words if not word.startswith(("run.", "quiet="))]
            named = ["reward=grm", "reward.model=MODEL"] if chosen else []
            command = shlex.join(["robo-reward", "train", *named, *SIZE, f"seed={seed}", *shown])
            if any(line["command"] == command for line in read_lines(TABLE)):
                continue
            typed = [*chosen, *SIZE, f"seed={seed}", *words]
            program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *typed]
            subprocess.run(program, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            summary = json.loads((Path(load_config(typed).run.dir) / "summary.json").read_text(encoding="utf-8"))
            line = {key: summary[key] for key in TAKEN}
            append_lines(TABLE, COLUMNS, [{**line, "reward": name, "seed": seed, "command": command}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of a collect stage to measure on; default: collect")
    parser.add_argument("--model", help="folder of a model that `experiment=small_vlm` left; default: train it")
    parser.add_argument("--note", help="written beside the figures")
    parser.add_argument(
        "--train", type=int, nargs="+", metavar="SEED", help="train policies with the model's potential"
    )
    arguments, words = parser.parse_known_args()
    if arguments.train:
        if arguments.model is None:
            parser.error("--train needs --model: the folder of a model that `experiment=small_vlm` left")
        train(arguments.model, arguments.train, words)
        return
    config = load_config(["experiment=small_vlm", *words], "train-reward")
    data = collecting.collect_stage(config) if arguments.data is None else recorded(Path(arguments.data))
    trained: dict[str, Any] = {}
    if arguments.model is None:
        stage = tune_stage(config, data)
        folder = stage.path / MODEL
    else:
        folder = Path(arguments.model)
    try:
        record = json.loads((folder.parent / MARKER).read_text(encoding="utf-8"))
        trained = {"tiny_train_wall_s": record["wall_s"]}
        trained |= {f"tiny_{k}": record["summary"][k] for k in ("steps", "questions", "loss_first", "loss_last")}
    except FileNotFoundError:
        pass  # a model that was put elsewhere
    shown = [word for word in words if not word.startswith("run.")]
    entries = {
        **measure(config, data, folder),
        **trained,
        "tiny_command": " ".join(["python scripts/study_vlm.py", *shown]),
        **({"tiny_note": arguments.note} if arguments.note else {}),
        "tiny_date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tiny_git_revision": git_revision(),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(before | entries, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in entries.items() if not isinstance(v, dict)}, indent=1))


if __name__ == "__main__":
    main()

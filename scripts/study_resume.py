"""The default experiment killed again and again, against itself left alone: every figure and weight must be the same.

    python scripts/study_resume.py [run.root=FOLDER] [more Hydra overrides]

Writes docs/results/resume.json. Data and reward model are made once and copied: it is the training that is killed, with
SIGKILL, at random moments 40 to 80 s apart.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from robo_reward.config import load_config
from robo_reward.learning.weights import digest_of, load_weights
from robo_reward.runtime.run_folder import made_on

KILLS, SOONEST_S, LATEST_S = 6, 40.0, 80.0
RESULT = Path(__file__).parents[1] / "docs" / "results" / "resume.json"


def start(overrides: list[str]) -> subprocess.Popen[bytes]:
    """`robo-reward train` as a process of its own."""
    return subprocess.Popen([sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *overrides])


def outcome(overrides: list[str]) -> tuple[dict[str, Any], str]:
    """What the finished run says, and the sha256 of its agent's weights."""
    config = load_config(overrides)
    summary = json.loads((Path(config.run.dir) / "summary.json").read_text())
    [agent] = [path.parent / "agent" for path in Path(config.run.stages).glob("train-*/agent.safetensors")]
    return summary, digest_of(load_weights(agent)[0])


def main() -> None:
    words = ["run.root=runs/resume", "quiet=true", *sys.argv[1:]]
    root = Path(load_config(words).run.root)
    killed_root = root.with_name(root.name + "-killed")
    killed_words = [*words, f"run.root={killed_root}"]
    if start(words).wait():
        raise SystemExit(1)
    shutil.rmtree(killed_root, ignore_errors=True)
    for stage in ("collect", "train-reward", "bench-reward", "train-base"):
        for folder in (root / "stages").glob(f"{stage}-*[0-9a-f]"):
            shutil.copytree(folder, killed_root / "stages" / folder.name)
    rng, kills = random.Random(0), 0
    while kills < KILLS:
        process = start(killed_words)
        try:
            process.wait(rng.uniform(SOONEST_S, LATEST_S))
            break  # it was faster than the kills
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    if start(killed_words).wait():
        raise SystemExit(1)
    (whole, weights), (killed, killed_weights) = outcome(words), outcome(killed_words)
    figures = [name for name, value in whole.items() if isinstance(value, (int, float, type(None)))
               and not name.endswith(("wall_s", "_per_s"))]  # fmt: skip
    result = {
        "kills": kills,
        "figures_compared": len(figures),
        "figures_that_differ": sum(whole[name] != killed.get(name) for name in figures),
        "weights_that_differ": int(weights != killed_weights),
        "whole_success": whole["final_success"],
        "killed_success": killed["final_success"],
        "command": "python scripts/study_resume.py",
        **made_on(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()

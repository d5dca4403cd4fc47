"""The study behind docs/results/peg_insert.json: the default experiment on three seeds, and every control row.

    python scripts/study_peg_insert.py [run.root=FOLDER] [more Hydra overrides]

Takes about an hour on two cores (two runs at a time) and goes on where it was stopped. Each row is a `robo-reward
train` with the overrides named below, on the same stages, evaluated on the same 100 initial states.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from robo_reward.config import Config, load_config
from robo_reward.evaluation.paired import run_paired
from robo_reward.evaluation.rollout import PolicyActor
from robo_reward.evaluation.statistics import wilson_interval
from robo_reward.runtime import steps
from robo_reward.runtime.tasks import make_env, task_of

SEEDS = (0, 1, 2)
CONTROLS = {
    "sparse": ["shaping=none"],
    "naive_delta": ["shaping=naive"],
    "oracle_potential": ["reward=oracle"],
    "no_base": ["base=zero", "agent.residual_scale=1.0"],
}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "peg_insert.json"


def train(overrides: list[str], folder: Path) -> dict[str, Any]:
    """One `robo-reward train` as a process of its own; returns its summary from the run folder."""
    command = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *overrides]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    print(
        " ".join(["robo-reward train", *overrides]),
        f"{found['base_success']:.2f} -> {found['final_success']:.2f}",
        flush=True,
    )
    return found


def success(config: Config, policy: Any) -> dict[str, float]:
    """Success of a policy on the evaluation's initial states, with its Wilson interval."""
    first, count = config.evaluate.first_seed, config.evaluate.episodes
    env = make_env(config.env)
    found = run_paired(env, {"control": lambda seed: PolicyActor(policy)}, range(first, first + count), quiet=True)
    wins = sum(episode.success for episode in found["control"])
    low, high = wilson_interval(wins, count)
    return {"success": wins / count, "success_low": low, "success_high": high}


def cloning_controls(overrides: list[str]) -> dict[str, dict[str, float]]:
    """Cloning without a learner: on the demonstrations, and on every success that the learner's run saw; step by step
    (chunk 1, the stronger way to clone here) and both; and scripted search motions on the base."""
    from robo_reward.data.episodes import load_episode
    from robo_reward.policies.cloning import train_cloning

    config = load_config(overrides)
    data = steps.collect_stage(config)
    reward, base = steps.reward_stage(config, data), steps.base_stage(config, data)
    trained = steps.residual_stage(config, data, reward, base, lambda *a, **k: None)
    demos = steps.read_split(data.path, "demos", views=())
    extra = [e for split in ("weak", "validation") for e in steps.read_split(data.path, split, views=())]
    online = [load_episode(path) for path in sorted((trained.path / "episodes").glob("*.npz"))]
    everything = [*demos, *(episode for episode in [*extra, *online] if episode.success)]
    one_step = load_config([*overrides, "base.chunk=1", "base.steps=6000"])
    columns = task_of(config.env).columns
    rows = {}
    for name, episodes, settings in (
        ("cloning_demonstrations", demos, one_step),
        ("cloning_all_data", everything, one_step),
        ("cloning_all_data_chunked", everything, load_config([*overrides, "base.steps=6000"])),
    ):
        policy, _ = train_cloning(episodes, steps.cloning_settings(settings), columns)
        rows[name] = success(config, policy)
    search = load_config([*overrides, "base=search"])
    rows["search_motions"] = success(config, steps.load_base(search, steps.base_stage(search, data)))
    return rows


def main() -> None:
    extra = ["quiet=true", *sys.argv[1:]]
    jobs = [[f"seed={seed}", *extra] for seed in SEEDS] + [["seed=0", *change, *extra] for change in CONTROLS.values()]
    folders = [Path(load_config(job).run.dir) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(train, jobs, folders))
    runs, controls = found[: len(SEEDS)], dict(zip(CONTROLS, found[len(SEEDS) :], strict=True))
    result: dict[str, Any] = {
        key: value for key, value in runs[0].items() if isinstance(value, (int, float, type(None)))
    }
    for key in ("base_success", "final_success", "rollouts_to_0_8_success", "last_three_evaluations_low"):
        result |= {f"seed{run['seed']}_{key}": run[key] for run in runs}
    for name, run in controls.items():
        keys = ("success", "success_low", "success_high")
        result |= {f"control_{name}_{key}": run[f"final_{key}"] for key in keys}
        result[f"control_{name}_rollouts_to_0_8_success"] = run["rollouts_to_0_8_success"]
    for name, row in cloning_controls(["seed=0", *extra]).items():
        result |= {f"control_{name}_{key}": value for key, value in row.items()}
    result |= {"seeds": len(SEEDS), "command": "python scripts/study_peg_insert.py"}
    result |= {key: runs[0][key] for key in ("date", "git_revision", "cores")}
    result.pop("seed", None)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT)


if __name__ == "__main__":
    main()

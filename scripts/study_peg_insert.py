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
from robo_reward.runtime import collecting, steps
from robo_reward.runtime.tasks import make_env, task_of
from robo_reward.types import Episode

SEEDS = (0, 1, 2)
CONTROLS = {
    "sparse": ["shaping=none"],
    "naive_delta": ["shaping=naive"],
    "oracle_potential": ["reward=oracle"],
    "no_base": ["base=zero", "agent.residual_scale=1.0"],
    "two_environments": ["env.count=2"],
}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "peg_insert.json"


def train(overrides: list[str]) -> None:
    """One `robo-reward train` as a process of its own; it leaves its summary in its run folder."""
    command = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *overrides]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def success(config: Config, policy: Any) -> dict[str, float]:
    """Success of a policy on the evaluation's initial states, with its Wilson interval."""
    first, count = config.evaluate.first_seed, config.evaluate.episodes
    env = make_env(config.env)
    found = run_paired(env, {"control": lambda seed: PolicyActor(policy)}, range(first, first + count), quiet=True)
    wins = sum(episode.success for episode in found["control"])
    low, high = wilson_interval(wins, count)
    return {"success": wins / count, "success_low": low, "success_high": high}


def successes_used(data: Path, trained: Path) -> list[Episode]:
    """Demonstrations, and the successes among the weak and the online rollouts: all that trained policy or reward.

    Validation is left out: its successes are the expert's, and the run sets a threshold on them but never sees their
    actions.

    data, trained: folders of the collect stage and of the training stage.
    """
    from robo_reward.data.store import TransitionStore
    from robo_reward.runtime.experience import ONLINE

    recorded = [e for split in ("demos", "weak") for e in collecting.read_split(data, split, views=())]
    store = TransitionStore(trained / "store")
    online = [store.read(e.episode_id, frames=False) for e in store.episodes() if e.actor == ONLINE]
    return [episode for episode in [*recorded, *online] if episode.success]


def cloning_controls(overrides: list[str]) -> dict[str, dict[str, float]]:
    """Cloning without a learner: on the demonstrations, and on `successes_used`; step by step (chunk 1, the stronger
    way to clone here) and both; and scripted search motions on the base."""
    from robo_reward.policies.cloning import train_cloning

    config = load_config(overrides)
    data = collecting.collect_stage(config)
    reward, base = steps.reward_stage(config, data), steps.base_stage(config, data)
    trained = steps.residual_stage(config, data, reward, base, lambda *a, **k: None)
    demos = collecting.read_split(data.path, "demos", views=())
    everything = successes_used(data.path, trained.path)
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


def write_results(folders: dict[str, Path], clones: dict[str, dict[str, float]]) -> None:
    """docs/results/peg_insert.json from the rows that are finished; the others are named in `missing_rows`."""
    runs = {name: json.loads((path / "summary.json").read_text()) for name, path in folders.items()
            if (path / "summary.json").exists()}  # fmt: skip
    seeds = [runs[f"seed{seed}"] for seed in SEEDS if f"seed{seed}" in runs]
    if not seeds:
        return
    result: dict[str, Any] = {k: v for k, v in seeds[0].items() if isinstance(v, (int, float, type(None)))}
    result.pop("seed")
    for key in ("base_success", "final_success", "final_success_low", "final_success_high", "difference_low",
                "rollouts_to_0_8_success", "last_three_evaluations_low"):  # fmt: skip
        result |= {f"seed{run['seed']}_{key}": run[key] for run in seeds}
    result["final_success_mean_of_seeds"] = sum(run["final_success"] for run in seeds) / len(seeds)
    for name in CONTROLS:
        if name in runs:
            keys = ("success", "success_low", "success_high")
            result |= {f"control_{name}_{key}": runs[name][f"final_{key}"] for key in keys}
            result[f"control_{name}_rollouts_to_0_8_success"] = runs[name]["rollouts_to_0_8_success"]
    for name, row in clones.items():
        result |= {f"control_{name}_{key}": value for key, value in row.items()}
    result |= {"seeds": len(seeds), "command": "python scripts/study_peg_insert.py"}
    result["missing_rows"] = ", ".join([*(n for n in folders if n not in runs), *([] if clones else ["cloning"])])
    result |= {key: seeds[0][key] for key in ("date", "git_revision", "cores")}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    extra = ["quiet=true", *sys.argv[1:]]
    jobs = {f"seed{seed}": [f"seed={seed}", *extra] for seed in SEEDS}
    jobs |= {name: ["seed=0", *change, *extra] for name, change in CONTROLS.items()}
    folders = {name: Path(load_config(job).run.dir) for name, job in jobs.items()}

    def run(name: str) -> None:
        train(jobs[name])
        write_results(folders, {})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, jobs))
    write_results(folders, cloning_controls(jobs["seed0"]))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()

"""Environment steps per second, one environment in this process against 1, 2 and 4 of them in processes.

    python scripts/bench_env.py [--note "what ran beside it"] [--repeats 5] [--tasks lift nut_assembly]

Writes docs/results/env_speed.json, anew after every task. Whole episodes of random actions through `run_episodes`,
resets included, with the camera views left out, taken every 4th step (as training does) and at every step (as
collecting does). Repeats are interleaved, so that whatever else the machine does meets all of them; figures are medians
over the repeats, ratios are medians of each repeat's ratio to the environment in this process. On a machine that is
busy with other things more processes also get a larger share of it, which flatters the ratios: see `load_before`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import EnvConfig
from robo_reward.evaluation.rollout import Actor
from robo_reward.evaluation.vector import Environments, make_vector, run_episodes
from robo_reward.runtime.run_folder import command_line, made_on
from robo_reward.runtime.tasks import make_env
from robo_reward.terminal import say

RESULT = Path(__file__).parents[1] / "docs" / "results" / "env_speed.json"
EPISODES, STEPS = 4, 60
"""Of one measurement; 4 environments take one episode each, so none of them rests."""
COUNTS = (1, 2, 4)
VIEWS = {"no_views": 0, "views_every_4": 4, "views_every_step": 1}
TASKS = {
    "peg_insert": EnvConfig("robo_reward/PegInsert-v0", ("front", "side", "wrist"), horizon=STEPS),
    "lift": EnvConfig("robo_reward/Lift-v0", ("agentview", "wrist"), horizon=STEPS),
    "nut_assembly": EnvConfig("robo_reward/NutAssemblySquare-v0", ("agentview", "wrist"), horizon=STEPS),
    "pick_place_can": EnvConfig("robo_reward/PickPlaceCan-v0", ("agentview", "wrist"), horizon=STEPS),
}


def random_actor(size: int, seed: int) -> Actor:
    """Uniform actions (size,) of this seed."""
    rng = np.random.default_rng(seed)
    return lambda *_: (rng.uniform(-1, 1, size), None)


def steps_per_s(env: Environments, make_actor: Callable[[int], Actor], query_every: int, first: int) -> float:
    """Steps of EPISODES whole episodes over the time they took."""
    started = time.perf_counter()
    seeds = range(first, first + EPISODES)
    steps = sum(len(e) for e in run_episodes(env, make_actor, seeds, source="random", query_every=query_every))
    return steps / (time.perf_counter() - started)


def bench(task: str, config: EnvConfig, repeats: int) -> dict[str, float]:
    """Flat figures of one task."""
    result: dict[str, float] = {}
    with ExitStack() as stack:
        single = stack.enter_context(closing(make_env(config)))
        make_actor = partial(random_actor, int(np.prod(single.action_space.shape or ())))
        envs: dict[str, Environments] = {"in_process": single}
        for count in COUNTS:
            name, started = f"{count}_process{'es' if count > 1 else ''}", time.perf_counter()
            envs[name] = stack.enter_context(closing(make_vector(partial(make_env, config), count)))
            result[f"{task}_{name}_start_s"] = round(time.perf_counter() - started, 2)
        for env in envs.values():
            steps_per_s(env, make_actor, 1, 0)  # the first frames open the OpenGL contexts
        for views, query_every in VIEWS.items():
            found: dict[str, list[float]] = {name: [] for name in envs}
            for repeat in range(repeats):
                for name, env in envs.items():
                    found[name].append(steps_per_s(env, make_actor, query_every, 1 + repeat * EPISODES))
            for name, speeds in found.items():
                ratios = [speed / alone for speed, alone in zip(speeds, found["in_process"], strict=True)]
                result[f"{task}_{views}_{name}_steps_per_s"] = round(statistics.median(speeds), 1)
                result[f"{task}_{views}_{name}_ratio"] = round(statistics.median(ratios), 3)
                result[f"{task}_{views}_{name}_ratio_low"] = round(min(ratios), 3)
                result[f"{task}_{views}_{name}_ratio_high"] = round(max(ratios), 3)
                say(f"{task:12} {views:18} {name:12} {statistics.median(speeds):8.1f} steps/s  "
                    f"x{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--note", default="nothing said about what ran beside it", help="what ran beside it")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    arguments = parser.parse_args()
    load, result, missing = os.getloadavg()[0], {}, {task: "not measured" for task in TASKS}
    for task in arguments.tasks:
        try:
            result |= bench(task, TASKS[task], arguments.repeats)
            del missing[task]
        except ModuleNotFoundError as error:
            missing[task] = f"{error.name} is not installed"
        whole: dict[str, Any] = {
            **result,
            "missing_rows": ", ".join(f"{name}: {why}" for name, why in missing.items()),
            "episodes": EPISODES,
            "episode_steps": STEPS,
            "image_size": TASKS[task].image_size,
            "repeats": arguments.repeats,
            "note": arguments.note,
            "load_before": round(load, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "command": f"python scripts/{command_line()}",
            **made_on(),
        }
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()

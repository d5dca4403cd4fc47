"""Policies from the same initial states; what has been seen outlives an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.split import iterate_split, store_recorder
from robo_reward.data.store import is_store
from robo_reward.evaluation.sequential import SequentialTest, decide
from robo_reward.evaluation.statistics import bootstrap_interval, paired_difference_interval, wilson_interval
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.terminal import progress
from robo_reward.types import Episode

MakeActor = Callable[[int], Any]


def run_paired(
    env: Environments | Mapping[str, Environments], actors: Mapping[str, MakeActor], seeds: Sequence[int],
    quiet: bool = False, *, test: SequentialTest | None = None, query_every: int = 0, kept: Path | None = None,
) -> dict[str, list[Episode]]:  # fmt: skip
    """Every policy from the initial state of every seed; `actors` makes a fresh actor for an episode of that seed.

    Args:
        env: one environment, or several from `make_vector`, for all policies or for each by its name.
        actors: policy name -> seed -> actor.
        seeds: of the initial states.
        quiet: no progress bar.
        test: ends the runs at the first of its looks at which it has a verdict on the second policy; None runs all.
        query_every: [steps] between the views that are kept; 0 keeps none.
        kept: folder that takes every episode as it ends. Those that it holds are not run again, which on a robot would
            take long and in a simulator would come out the same. None keeps nothing.
    """
    outcomes: dict[str, list[Episode]] = {name: [] for name in actors}
    # Killed while it was made, the store is a folder that holds no store yet.
    seen = list(iterate_split(kept)) if kept is not None and is_store(kept) else []
    known = iter(seen)

    def episodes() -> Iterator[Episode]:
        done = 0
        for look in test.looks if test else (len(seeds),):
            for world, jobs, count in _jobs(env, actors, seeds[done:look]):
                before = list(islice(known, count))
                for _ in before:
                    next(jobs)  # a scripted policy draws every episode's style
                yield from before
                yield from run_jobs(world, jobs, query_every=query_every)
            done = look
            if test:
                first, second = ([e.success for e in found] for found in outcomes.values())
                if decide(first, second, test).done:
                    return

    with nullcontext((0, None)) if kept is None else store_recorder(kept) as (_, append):
        for number, episode in enumerate(progress(episodes(), len(seeds) * len(actors), "evaluate", quiet)):
            if append and number >= len(seen):
                append(episode)
            outcomes[episode.source].append(episode)
    return outcomes


def _jobs(
    env: Environments | Mapping[str, Environments], actors: Mapping[str, MakeActor], seeds: Sequence[int]
) -> Iterator[tuple[Environments, Iterator[Job], int]]:
    """Environments, what to run in them, and how many episodes that makes."""
    if isinstance(env, Mapping):
        for name, make in actors.items():
            yield env[name], (Job(seed, name, make(seed)) for seed in seeds), len(seeds)
        return
    jobs = (Job(seed, name, make(seed)) for seed in seeds for name, make in actors.items())
    yield env, jobs, len(seeds) * len(actors)


def summarise(base: Sequence[Episode], final: Sequence[Episode], fps: float = 20.0) -> dict[str, float]:
    """Success of both with Wilson intervals, the paired difference's interval, cycle times; intervals of 95 %.

    fps: actions a second.
    """
    base_wins, final_wins = [e.success for e in base], [e.success for e in final]
    episodes = len(base_wins)
    base_interval, final_interval = (
        wilson_interval(sum(base_wins), episodes),
        wilson_interval(sum(final_wins), episodes),
    )
    difference = paired_difference_interval(base_wins, final_wins)
    steps = [len(e) for e in final if e.success]
    return {
        "evaluation_episodes": episodes,
        "base_success": sum(base_wins) / episodes,
        "base_success_low": base_interval.low,
        "base_success_high": base_interval.high,
        "final_success": sum(final_wins) / episodes,
        "final_success_low": final_interval.low,
        "final_success_high": final_interval.high,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "final_steps_mean": sum(steps) / len(steps) if steps else float("nan"),
        **cycle_times("base", base, fps),
        **cycle_times("final", final, fps),
    }


def cycle_times(name: str, episodes: Sequence[Episode], fps: float) -> dict[str, float]:
    """`{name}_cycle_s`: mean duration of a success [s] with its bootstrap interval; `{name}_s_per_success`: all time
    spent, failures too, over the successes. NaN without successes."""
    seconds = [len(e) / fps for e in episodes if e.success]
    low, high = bootstrap_interval(seconds, np.mean) if seconds else (float("nan"),) * 2
    total = sum(len(e) for e in episodes) / fps
    return {
        f"{name}_cycle_s": float(np.mean(seconds)) if seconds else float("nan"),
        f"{name}_cycle_s_low": low,
        f"{name}_cycle_s_high": high,
        f"{name}_s_per_success": total / len(seconds) if seconds else float("nan"),
    }

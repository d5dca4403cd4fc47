"""Policies from the same initial states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from robo_reward.evaluation.sequential import SequentialTest, decide
from robo_reward.evaluation.statistics import bootstrap_interval, paired_difference_interval, wilson_interval
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.terminal import progress
from robo_reward.types import Episode

MakeActor = Callable[[int], Any]


def run_paired(
    env: Environments | Mapping[str, Environments], actors: Mapping[str, MakeActor], seeds: Sequence[int],
    quiet: bool = False, *, test: SequentialTest | None = None, query_every: int = 0,
) -> dict[str, list[Episode]]:  # fmt: skip
    """Every policy from the initial state of every seed; `actors` makes a fresh actor for an episode of that seed.

    Args:
        env: one environment, or several from `make_vector`, for all policies or for each by its name.
        actors: policy name -> seed -> actor.
        seeds: of the initial states.
        quiet: no progress bar.
        test: ends the runs at the first of its looks at which it has a verdict on the second policy; None runs all.
        query_every: [steps] between the views that are kept; 0 keeps none.
    """
    outcomes: dict[str, list[Episode]] = {name: [] for name in actors}

    def episodes() -> Iterator[Episode]:
        done = 0
        for look in test.looks if test else (len(seeds),):
            yield from _block(env, actors, seeds[done:look], query_every)
            done = look
            if test and decide(*([e.success for e in found] for found in outcomes.values()), test).done:
                return

    for episode in progress(episodes(), len(seeds) * len(actors), "evaluate", quiet):
        outcomes[episode.source].append(episode)
    return outcomes


def _block(
    env: Environments | Mapping[str, Environments], actors: Mapping[str, MakeActor], seeds: Sequence[int], every: int
) -> Iterator[Episode]:
    if isinstance(env, Mapping):
        for name, make in actors.items():
            yield from run_jobs(env[name], (Job(seed, name, make(seed)) for seed in seeds), query_every=every)
        return
    jobs = (Job(seed, name, make(seed)) for seed in seeds for name, make in actors.items())
    yield from run_jobs(env, jobs, query_every=every)


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

"""Base against trained policy from the same initial states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robo_reward.evaluation.statistics import paired_difference_interval, wilson_interval
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.terminal import progress
from robo_reward.types import Episode

MakeActor = Callable[[int], Any]


def run_paired(
    env: Environments, actors: dict[str, MakeActor], seeds: Sequence[int], quiet: bool = False
) -> dict[str, list[Episode]]:
    """Every policy from the initial state of every seed; `actors` makes a fresh actor for an episode of that seed.

    `env` is one environment, or several from `make_vector`; the episodes are the same.
    """
    jobs = (Job(seed, name, make(seed)) for seed in seeds for name, make in actors.items())
    outcomes: dict[str, list[Episode]] = {name: [] for name in actors}
    for episode in progress(run_jobs(env, jobs), len(seeds) * len(actors), "evaluate", quiet):
        outcomes[episode.source].append(episode)
    return outcomes


def summarise(base: Sequence[Episode], final: Sequence[Episode]) -> dict[str, float]:
    """Success of both with Wilson intervals, the paired difference's interval (all 95 %), steps of successes."""
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
    }

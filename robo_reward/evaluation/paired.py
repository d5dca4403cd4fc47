"""Base against trained policy from the same initial states; what has been seen outlives an interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_reward.evaluation.statistics import paired_difference_interval, wilson_interval
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.terminal import progress

MakeActor = Callable[[int], Any]


@dataclass(frozen=True)
class Outcome:
    """What an evaluation keeps of an episode."""

    seed: int
    success: bool
    steps: int
    stage: int
    """Stages that the last observation reached."""


def run_paired(
    env: Environments,
    actors: dict[str, MakeActor],
    seeds: Sequence[int],
    quiet: bool = False,
    kept: Path | None = None,
) -> dict[str, list[Outcome]]:
    """Every policy from the initial state of every seed; `actors` makes a fresh actor for an episode of that seed.

    Args:
        env: one environment, or several from `make_vector`; the episodes are the same.
        actors: by the policy's name.
        seeds: of the initial states.
        quiet: print nothing.
        kept: file that takes a line of JSON an episode. Those that it holds already are not run again, which on a
            robot would take long and in a simulator would come out the same. None keeps nothing.
    """
    done = _read_kept(kept) if kept is not None else {}
    total = len(seeds) * len(actors) - len(done)

    def jobs() -> Iterator[Job]:
        for seed in seeds:
            for name, make in actors.items():
                act = make(seed)  # also where it is not run: a scripted policy draws every episode's style
                if (name, seed) not in done:
                    yield Job(seed, name, act)

    for episode in progress(run_jobs(env, jobs()), total, "evaluate", quiet):
        outcome = Outcome(episode.seed, episode.success, len(episode), int(episode.stage[-1]))
        done[episode.source, episode.seed] = outcome
        if kept is not None:
            _keep(kept, {"policy": episode.source, **asdict(outcome)})
    return {name: [done[name, seed] for seed in seeds] for name in actors}


def _read_kept(path: Path) -> dict[tuple[str, int], Outcome]:
    """Policy and seed -> outcome; a last line that was torn by a crash is cut off."""
    text = path.read_bytes() if path.is_file() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(path, len(whole))
    lines = [json.loads(line) for line in whole.splitlines()]
    return {(line.pop("policy"), line["seed"]): Outcome(**line) for line in lines}


def _keep(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def summarise(base: Sequence[Outcome], final: Sequence[Outcome]) -> dict[str, float]:
    """Success of both with Wilson intervals, the paired difference's interval (all 95 %), steps of successes."""
    base_wins, final_wins = [e.success for e in base], [e.success for e in final]
    episodes = len(base_wins)
    base_interval, final_interval = (
        wilson_interval(sum(base_wins), episodes),
        wilson_interval(sum(final_wins), episodes),
    )
    difference = paired_difference_interval(base_wins, final_wins)
    steps = [e.steps for e in final if e.success]
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

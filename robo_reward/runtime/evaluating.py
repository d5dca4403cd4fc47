"""The stage of the final evaluation: base and trained policy from the same initial states, and what became of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.evaluation.paired import MakeActor, run_paired, summarise
from robo_reward.evaluation.rollout import PolicyActor
from robo_reward.evaluation.sequential import MOST, SequentialTest, decide, design
from robo_reward.evaluation.taxonomy import counted, outcome_of
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.interfaces import Policy
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime import steps
from robo_reward.runtime.acting import trained_actor
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.observing import sight
from robo_reward.runtime.run_folder import write_atomic
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.runtime.worlds import open_world, world_key
from robo_reward.types import Episode

EPISODES = "episodes.json"
"""In the stage's folder: policy -> its episodes, as `told` tells them."""
KEPT = "episodes"
"""In the folder of an evaluation under way: the episodes so far."""
Annotate = Callable[[Sequence[Episode]], Sequence[Any]]


def evaluate_stage(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, trained: StageResult
) -> StageResult:
    """Base and trained policy on the same initial states, and videos of each outcome with the progress curve.

    An interrupted evaluation goes on with the episodes that it has seen.
    """
    inputs = [data, base, trained, *([reward] if reward else [])]

    def build(unfinished: Path) -> dict[str, Any]:
        return _evaluate(config, data, reward, base, trained, unfinished)

    return kept_stage(config, "evaluate", evaluation_key(config), inputs, build, resumable=True)


def evaluation_key(config: Config) -> dict[str, Any]:
    """What an evaluation's outcome depends on: its world and its own settings, not whose folder a policy came from."""
    names = ("episodes", "first_seed", "videos", "looks", "error")
    return {"evaluate": {name: getattr(config.evaluate, name) for name in names}, "env": world_key(nominal(config))}


def paired_actors(base: Policy, agent: ResidualTD3) -> dict[str, MakeActor]:
    """The frozen base and the trained policy, as they are evaluated."""
    return {"base": lambda seed: PolicyActor(base), "trained": lambda seed: trained_actor(base, agent, seed)}


def nominal(config: Config) -> Config:
    """Without `env.randomise`, which is for training."""
    return replace(config, env=replace(config.env, randomise=()))


def stopping_test(config: Config) -> SequentialTest | None:
    """The sequential test of `evaluate.looks`; None where all episodes are run."""
    e = config.evaluate
    if e.looks == 1:
        return None
    if not e.looks <= e.episodes <= MOST:
        raise ValueError(
            f"evaluate.looks={e.looks} with evaluate.episodes={e.episodes}: the sequential test takes from as many "
            f"episodes as looks to {MOST}"
        )
    return design(e.episodes, e.looks, e.error)


def _evaluate(
    config: Config, data: StageResult, reward: StageResult | None, base_stage: StageResult, trained: StageResult,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    base = steps.load_base(config, base_stage)
    actors = paired_actors(base, steps.load_agent(config, data, base, trained))
    first, test = config.evaluate.first_seed, stopping_test(config)
    annotate = steps.make_annotate(config, reward)
    with closing(open_world(nominal(config), folder, sight(config, data, base))) as env:
        every = config.collect.query_every if config.robot and reward else 0  # there the curve is the reward model's
        seeds = range(first, first + config.evaluate.episodes)
        found = run_paired(env, actors, seeds, config.quiet, test=test, query_every=every, kept=folder / KEPT)
        judge = annotate if every else None
        episodes = {name: told(config, rows, judge) for name, rows in found.items()}
        videos = _videos(config, env, actors, annotate, judge, episodes, folder) if config.evaluate.videos else []
    write_atomic(folder / EPISODES, json.dumps(episodes))
    shutil.rmtree(folder / KEPT)
    summary: dict[str, Any] = summarise(found["base"], found["trained"], task_of(config.env).fps)
    for name, word in (("base", "base"), ("trained", "final")):
        counts = counted(row["outcome"] for row in episodes[name])
        summary |= {f"{word}_outcome_{outcome.replace(' ', '_')}": count for outcome, count in counts.items()}
    if test:
        summary |= decision_summary([e.success for e in found["base"]], [e.success for e in found["trained"]], test)
    return {**summary, "videos": videos}


def decision_summary(first: Sequence[bool], second: Sequence[bool], test: SequentialTest) -> dict[str, Any]:
    """The sequential test's verdict on the second policy, flat."""
    found = decide(first, second, test)
    return {
        "decision": found.verdict, "decision_pairs": found.pairs, "decision_error": test.error,
        "decision_difference_low": found.difference.low, "decision_difference_high": found.difference.high,
    }  # fmt: skip


def told(config: Config, episodes: Sequence[Episode], annotate: Annotate | None = None) -> list[dict[str, Any]]:
    """What is kept of each episode: seed, success, steps, last stage and outcome.

    The curve that the outcome is read off is the simulator's progress where it is known, else what `annotate` finds on
    the episode's frames; without either there is only success and failure.
    """
    return [
        {"seed": e.seed, "success": e.success, "steps": len(e), "stage": int(e.stage[-1]),
         "outcome": _outcome(config, e, annotate)}
        for e in episodes
    ]  # fmt: skip


def _outcome(config: Config, episode: Episode, annotate: Annotate | None) -> str:
    curve = episode.oracle if episode.oracle is not None else annotate([episode])[0].phi if annotate else None
    if curve is None:
        return "success" if episode.success else "failure"
    cut = len(episode) < config.env.horizon
    return outcome_of(curve, episode.success, len(task_of(config.env).stages), fault=cut and not episode.success)


def to_film(episodes: Mapping[str, Sequence[Mapping[str, Any]]], count: int) -> list[tuple[str, int]]:
    """(policy, seed) of the first episode of every outcome, the policies in turn; then more successes and failures."""
    rows = {}
    for name, found in episodes.items():
        counts = counted(row["outcome"] for row in found)
        firsts = [next(row for row in found if row["outcome"] == outcome) for outcome in counts]
        rows[name] = firsts + [row for row in found if row not in firsts]
    longest = max(map(len, rows.values()))
    films = [(name, int(row[n]["seed"])) for n in range(longest) for name, row in rows.items() if n < len(row)]
    return films[:count]


def _videos(
    config: Config, env: Environments, actors: Mapping[str, MakeActor], annotate: Annotate, judge: Annotate | None,
    episodes: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Episodes once more, filmed at every step; the curve is the reward model's own. `judge`: as `told` takes it."""
    from robo_reward.evaluation.video import write_episode_video

    films, made = to_film(episodes, config.evaluate.videos), []
    for episode in run_jobs(env, (Job(seed, name, actors[name](seed)) for name, seed in films), query_every=1):
        name, seed = episode.source, episode.seed
        path = folder / f"{name}-{seed}.mp4"
        write_episode_video(
            path, episode.frames, annotate([episode])[0].phi, fps=task_of(config.env).fps,
            perspectives={} if episode.oracle is None else {"oracle": episode.oracle},
            success=episode.success, title=f"{name}: {episode.instruction}",
        )  # fmt: skip
        made.append({"file": path.name, "policy": name, "seed": seed, "success": episode.success,
                     "outcome": _outcome(config, episode, judge)})  # fmt: skip
    return made

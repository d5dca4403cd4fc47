"""`evaluate robot=NAME policies=RUN,RUN`: a blind session on the robot, resumed by the same command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from robo_reward.config import Config
from robo_reward.data.arrays import read_arrays, write_arrays
from robo_reward.evaluation import report
from robo_reward.evaluation.ab_session import BlindSession, label_agreement, mismatch, overlay
from robo_reward.evaluation.rollout import run_episode
from robo_reward.evaluation.taxonomy import FAULT
from robo_reward.runtime import steps
from robo_reward.runtime.believed import make_judge
from robo_reward.runtime.comparing import policies_of, policy_rows, report_sections, write_table
from robo_reward.runtime.evaluating import EPISODES, decision_summary, stopping_test, told
from robo_reward.runtime.evaluation_results import decision_words
from robo_reward.runtime.finished import run_actors, space_sizes
from robo_reward.runtime.observing import sight
from robo_reward.runtime.run_folder import RunFolder, write_atomic
from robo_reward.runtime.tasks import task_of
from robo_reward.runtime.worlds import ROBOT_LOG, open_world
from robo_reward.terminal import say

PAGE = """<!doctype html><meta http-equiv="refresh" content="1"><title>Initial state</title>
<p>Move things until nothing is seen twice: the start that is wanted over the live picture.</p>{images}
"""


def run_session(config: Config) -> dict[str, Any]:
    """Run what is left of the session, then reveal it: table, agreement of the labels, verdict, report.

    Raises:
        ValueError: a policy of another action space, a session in the folder that was begun with other policies, or a
            robot that cannot be reached.
    """
    runs, bases = policies_of(config)
    seeds = range(config.evaluate.first_seed, config.evaluate.first_seed + config.evaluate.episodes)
    test = stopping_test(config) if len(runs) == 2 else None
    judging = next((run.reward for run in runs.values() if run.reward and run.own.reward.kind == "compact"), None)
    judge = make_judge(judging.path) if judging else None
    with RunFolder(config.run.dir, config, "evaluate", config.quiet) as folder:
        digests = {name: run.base.digest if base else run.trained.digest for (name, run), base in
                   zip(runs.items(), bases, strict=True)}  # fmt: skip
        session = BlindSession(folder.path, digests, seeds, test)
        if not session.over:
            with closing(open_world(config, folder.path)) as world:
                assert isinstance(world, gymnasium.Env)  # Config refuses several with a robot
                actors, seen = {}, {}
                for (name, run), base in zip(runs.items(), bases, strict=True):
                    seen[name] = sight(run.config, run.data, steps.load_base(run.config, run.base))(world)
                    actors[name] = run_actors(run, *space_sizes(seen[name]))["base" if base else "trained"]
                _run(config, session, world, seen, actors, judge, folder.path)
        return _reveal(config, session, folder, test)


def _run(
    config: Config, session: BlindSession, world: Any, seen: Mapping[str, Any], actors: Mapping[str, Any],
    judge: Callable[[Any], int | None] | None, folder: Path,
) -> None:  # fmt: skip
    total = config.evaluate.episodes * len(actors)
    every = config.collect.query_every if config.env.cameras else 0
    for rollout in session.rollouts():
        say(f"rollout {rollout.number} of at most {total}, initial state {rollout.state + 1}", config.quiet)
        target = folder / "starts" / f"{rollout.state}.npz"
        wanted = read_arrays(target) if rollout.slot and target.exists() else {}
        if wanted:
            _show(world, wanted, folder)
        episode = run_episode(seen[rollout.policy], actors[rollout.policy](rollout.seed), seed=rollout.seed,
                              source="rollout", query_every=every)  # fmt: skip
        start = {view: frames[0] for view, frames in episode.frames.items()}
        if start and not wanted:
            target.parent.mkdir(exist_ok=True)
            write_arrays(target, start)
        row = told(config, [episode])[0]
        if judge and start:
            row["completion"] = judge(episode) is not None
        if wanted:
            row["mismatch"] = round(mismatch(wanted, start), 2)
        session.record(rollout, row)


def _show(world: Any, wanted: Mapping[str, np.ndarray], folder: Path) -> None:
    """overlay.html: the wanted start over the live cameras, drawn anew while the operator sets the scene up."""
    from PIL import Image

    def draw(live: Mapping[str, np.ndarray]) -> None:
        for view, frame in wanted.items():
            shown = overlay(frame, live[view]) if view in live and live[view].shape == frame.shape else frame
            Image.fromarray(shown).resize((480, 480)).save(folder / f"overlay-{view}.png")

    draw({})
    images = "".join(f'<img src="overlay-{view}.png" alt="{view}">' for view in wanted)
    write_atomic(folder / "overlay.html", PAGE.format(images=images))
    watch = getattr(world.unwrapped, "while_waiting", None)
    if watch is not None:
        watch(draw)


def _reveal(config: Config, session: BlindSession, folder: RunFolder, test: Any) -> dict[str, Any]:
    found = session.outcomes()
    write_atomic(folder.path / EPISODES, json.dumps(found))
    rows = policy_rows(found, task_of(config.env).fps, config.evaluate.condition)
    write_table(rows, folder.path)
    for row in rows:
        say(f"{row['policy']:<40}{row['success']:>6.0%}  {row['low']:.0%} to {row['high']:.0%}", config.quiet)
    summary: dict[str, Any] = {"rollouts": len(session.rows)}
    summary["faults"] = faults = sum(row["outcome"] == FAULT for row in session.rows)
    if faults:
        say(
            f"{faults} rollouts ended in a fault of the robot and count as failures: {ROBOT_LOG} says why", config.quiet
        )
    if test:
        first, second = ([row["success"] for row in told_rows] for told_rows in found.values())
        summary |= decision_summary(first, second, test)
        say(decision_words(summary, list(found)[1]), config.quiet)
    both = [row for row in session.rows if "completion" in row]
    sections = report_sections(config, rows, found)
    if both:
        labels = label_agreement([row["success"] for row in both], [row["completion"] for row in both])
        summary |= labels
        kappa = "undefined" if labels["label_kappa"] is None else f"{labels['label_kappa']:.2f}"
        say(f"labels of operator and completion agree in {labels['label_agreement']:.0%}, kappa {kappa}", config.quiet)
        sections.append(report.table(
            "Labels", ["operator", "completion: done", "completion: not done"],
            [[word, *(sum(row["success"] == told_so and row["completion"] == done for row in both)
                      for done in (True, False))] for word, told_so in (("success", True), ("failure", False))],
            note=f"Agreement {labels['label_agreement']:.0%}, Cohen's kappa {kappa}.",
        ))  # fmt: skip
    if matched := [row["mismatch"] for row in session.rows if "mismatch" in row]:
        summary["start_mismatch_mean"] = float(np.mean(matched))
    path = report.write_report(folder.path / "report.html", sections, title="Blind session")
    say(f"report: {path}", config.quiet)
    return folder.finish(summary)

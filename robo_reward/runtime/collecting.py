"""Where episodes come from: rollouts of the scripted policies, split by what they are for, or the user's dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.data.split import dataset_recorder, iterate_split, store_recorder
from robo_reward.evaluation.rollout import PolicyActor
from robo_reward.evaluation.vector import Environments, Job, run_jobs
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.stages import StageResult, file_digest
from robo_reward.runtime.tasks import SPLITS, first_seed, scripted, task_of
from robo_reward.runtime.worlds import open_world, world_key
from robo_reward.terminal import progress
from robo_reward.types import Episode

ATTEMPTS = 100
"""Initial states that a recorded episode may take until its outcome is the one that its split wants."""


def collect_stage(config: Config) -> StageResult:
    """Scripted rollouts of every split as LeRobotDatasets, one folder a split."""
    counts = {split: getattr(config.collect, split) for split in SPLITS}
    key = {"env": world_key(config), "counts": counts, "seed": config.seed}
    if not config.collect.all_frames:
        key |= {"every": config.collect.query_every}
    return kept_stage(config, "collect", key, [], lambda folder: _collect(config, folder, counts), resumable=True)


def _collect(config: Config, folder: Path, counts: dict[str, int]) -> dict[str, Any]:
    task = task_of(config.env)
    summary: dict[str, Any] = {}
    with closing(open_world(config, folder)) as env:
        for split, count in counts.items():
            if not count:
                continue
            recorder = (
                dataset_recorder(folder / split, task.fps, task.robot, task.stages)
                if config.collect.all_frames
                else store_recorder(folder / split)
            )
            with recorder as (recorded, append):
                missing = range(recorded, count)
                rollouts = _split_episodes(config, env, split, missing)
                for episode in progress(rollouts, len(missing), f"collect {split}", config.quiet):
                    append(episode)
    for split, count in counts.items():
        episodes = read_split(folder, split, views=()) if count else []
        summary |= {
            f"{split}_episodes": len(episodes),
            f"{split}_success": float(np.mean([e.success for e in episodes])) if episodes else 0.0,
            f"{split}_redrawn": sum((e.seed - first_seed(config.seed, split)) % ATTEMPTS for e in episodes),
        }
    return summary


def _split_episodes(config: Config, env: Environments, split: str, numbers: range) -> Iterator[Episode]:
    """Demonstrations are the expert's successes, the weak split keeps what happens, and of validation and test every
    third episode is a success of the expert, the others failures of the weak policy. What does not fit is drawn anew.
    """
    first = first_seed(config.seed, split)

    def job(seed: int) -> Job:
        expert = split == "demos" or (split != "weak" and (seed - first) // ATTEMPTS % 3 == 0)
        kind = "expert" if expert else "weak"
        return Job(seed, kind, PolicyActor(scripted(config.env, kind, seed)))

    def again(episode: Episode) -> Job | None:
        if split == "weak" or episode.success == (episode.source == "expert"):
            return None
        attempt = (episode.seed - first) % ATTEMPTS
        if attempt + 1 == ATTEMPTS:
            kind, what = ("expert", "success") if episode.source == "expert" else ("weak policy", "failure")
            raise ValueError(
                f"collect.{split}: the scripted {kind} of {config.env.id} gave no {what} in {ATTEMPTS} rollouts from "
                f"seed {episode.seed - attempt}; set collect.{split}=0, or another env.horizon"
            )
        return job(episode.seed + 1)

    every = 1 if config.collect.all_frames else config.collect.query_every
    return run_jobs(env, (job(first + number * ATTEMPTS) for number in numbers), query_every=every, again=again)


def read_split(folder: Path, split: str, query_every: int = 1, views: tuple[str, ...] | None = None) -> list[Episode]:
    """Episodes of one split of a collected stage; none where the split is empty."""
    return list(iterate_split(folder / split, query_every=query_every, views=views))


def dataset_stage(config: Config) -> StageResult:
    """The collected dataset, or the user's own with `dataset=`: a LeRobotDataset, or a file that is made one first."""
    if config.dataset is None:
        return collect_stage(config)
    from robo_reward.data.convert import convert_file, is_foreign_file
    from robo_reward.data.lerobot import read_info

    path = Path(config.dataset)
    if is_foreign_file(path):
        return kept_stage(
            config, "convert", {"sha256": file_digest(path)}, [], lambda folder: convert_file(path, folder)
        )
    read_info(path)  # raises where there is none
    stage = kept_stage(config, "dataset", {"files": _content(path)}, [], lambda folder: _link_dataset(path, folder))
    if (link := stage.path / "demos").resolve() != path.resolve():  # it has been moved since, or this is a copy
        fresh = link.with_name(f".demos-{os.getpid()}")
        fresh.symlink_to(path.resolve(), target_is_directory=True)
        os.replace(fresh, link)
    return stage


READ = 64 << 20
"""Bytes up to which a file's content tells it from another; pictures in the rows make larger ones."""


def _content(dataset: Path) -> dict[str, Any]:
    """What a dataset holds, wherever it lies: of its videos, which would take long to read, the sizes, of other large
    files when they were written too."""
    paths = sorted(path for part in ("meta", "data", "videos") for path in (dataset / part).rglob("*"))
    found: dict[str, Any] = {}
    for path in paths:
        if path.is_file():
            name, about = path.relative_to(dataset), path.stat()
            video, large = name.parts[0] == "videos", [about.st_size, about.st_mtime_ns]
            found[name.as_posix()] = about.st_size if video else large if about.st_size > READ else file_digest(path)
    return found


def _link_dataset(dataset: Path, folder: Path) -> dict[str, Any]:
    (folder / "demos").symlink_to(dataset.resolve(), target_is_directory=True)
    episodes = read_split(folder, "demos", views=())
    return {"demos_episodes": len(episodes), "demos_success": float(np.mean([e.success for e in episodes]))}

"""The best and the worst test episodes of each outcome, by progress error: their films and their reward's terms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_reward.config import Config
from robo_reward.data.arrays import read_arrays
from robo_reward.data.split import iterate_split
from robo_reward.progress.models.oracle import oracle_of
from robo_reward.progress.tracker import queried_steps
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.types import Episode, Progress

if TYPE_CHECKING:
    from robo_reward.progress.scorer import EpisodeScorer


def clips_stage(config: Config, data: StageResult, reward: StageResult, bench: StageResult) -> StageResult:
    """Films and pages of the episodes that `bench` got most and least right; its summary lists them."""
    key = {"every": config.collect.query_every, "gamma": config.agent.gamma}
    return kept_stage(config, "clips", key, [data, reward, bench], lambda f: _clips(config, data, reward, bench, f))


def _clips(config: Config, data: StageResult, reward: StageResult, bench: StageResult, folder: Path) -> dict[str, Any]:
    from robo_reward.evaluation.reward_page import write_reward_page
    from robo_reward.evaluation.video import write_episode_video
    from robo_reward.progress.annotate import held
    from robo_reward.progress.scorer import load_scorer

    scorer, errors = load_scorer(reward.path), episode_errors(config, data, bench)
    chosen = {number: name for name, number in extremes(errors).items()}
    fps, made = task_of(config.env).fps, {}
    films = iterate_split(data.path / "test", query_every=1, views=config.reward.views)
    for number, episode in enumerate(films):
        if number not in chosen:
            continue
        name, words = chosen[number], f"progress error {errors[number][1]:.3f}"
        phi, progress = _follow(episode, scorer)
        at = held(episode.frame_steps, len(episode))  # where not every frame was recorded
        episode = replace(episode, frames={v: f[at] for v, f in episode.frames.items()}, frame_steps=np.arange(len(at)))
        title = f"{name.replace('-', ', ')} by {words}: {episode.instruction}"
        film = write_episode_video(
            folder / f"{name}.mp4", episode.frames, phi, fps=fps,
            perspectives={"oracle": oracle_of(episode)}, success=episode.success, title=title,
        )  # fmt: skip
        page = write_reward_page(
            folder / f"{name}.html", episode, phi, film, gamma=config.agent.gamma, fps=fps, progress=progress,
            title=title,
        )  # fmt: skip
        caption = f"{name.split('-')[1]}, {words}, {episode.episode_id}"
        made[name] = {"film": film.name, "page": page.name, "success": episode.success, "caption": caption}
    return {"clips": [made[name] for name in chosen.values()]}


def episode_errors(config: Config, data: StageResult, bench: StageResult) -> list[tuple[bool, float]]:
    """Success and progress error of each test episode, at the frames that the model was asked about."""
    episodes = read_split(data.path, "test", views=())
    potentials = read_arrays(bench.path / "tracks.npz").values()
    found = []
    for episode, phi in zip(episodes, potentials, strict=True):
        at = queried_steps(len(episode), config.collect.query_every)
        found.append((episode.success, float(np.abs(phi[at] - oracle_of(episode)[at]).mean())))
    return found


def extremes(errors: list[tuple[bool, float]]) -> dict[str, int]:
    """Best and worst of each outcome -> number of the episode, as far as there are: success-best, success-worst, ..."""
    found: dict[str, int] = {}
    for name, outcome in (("success", True), ("failure", False)):
        ranked = sorted((error, number) for number, (success, error) in enumerate(errors) if success == outcome)
        if ranked:
            found[f"{name}-best"] = ranked[0][1]
        if ranked[1:]:
            found[f"{name}-worst"] = ranked[-1][1]
    return found


def _follow(episode: Episode, scorer: EpisodeScorer) -> tuple[np.ndarray, list[Progress]]:
    """Potential of each observation, and what the tracker said there if the model has one."""
    from robo_reward.progress.annotate import held, track_many
    from robo_reward.progress.reward_model import RewardModel

    if not isinstance(scorer, RewardModel):
        return scorer.annotate([episode])[0].phi, []
    (track,) = track_many([episode], scorer.model, scorer.tracker, scorer.references)
    at = held(track.steps, len(episode))
    return track.phi[at], [track.progress[i] for i in at]

"""What learned policies see, by `observation`: columns of the state, or frozen visual features computed once a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from robo_reward.config import Config
from robo_reward.data.split import iterate_split, store_recorder
from robo_reward.interfaces import Policy
from robo_reward.policies.chunks import looked
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of
from robo_reward.terminal import progress
from robo_reward.types import Episode

if TYPE_CHECKING:
    from robo_reward.learning.pixels import Eyes
    from robo_reward.progress.frame_features import FrameFeatures

World = gymnasium.Env[Any, Any]
ENCODER = "encoder"


def write_observed(config: Config, data: Path, reward: Path, folder: Path) -> dict[str, Any]:
    """The demonstrations with their features, and the encoder that made them."""
    from robo_reward.progress.frame_features import FrameFeatures
    from robo_reward.progress.reward_model import load_reward

    model = load_reward(reward).compact
    model.save(folder / ENCODER)
    features = FrameFeatures(model)
    with store_recorder(folder / "demos") as (_, append):
        for episode in progress(iterate_split(data / "demos"), None, "features", config.quiet):
            append(with_features(episode, features))
    return {"features": features.size}


def with_features(episode: Episode, features: FrameFeatures) -> Episode:
    """The episode with the features of every observation. Raises ValueError where it lacks a frame."""
    _every_frame(episode, "observation=features")
    rows = [
        features({view: frames[step] for view, frames in episode.frames.items()}, episode.instruction)
        for step in range(len(episode) + 1)
    ]
    return replace(episode, features=np.stack(rows)).validate()


def input_columns(config: Config, episode: Episode) -> tuple[int, ...] | None:
    """Columns of (agent_pos, estimate, features) that learned policies see, the base among them; None is all."""
    if config.observation != "features":
        return task_of(config.env).columns
    if episode.features is None:
        raise ValueError(f"episode {episode.episode_id} has no features: it was recorded with observation=state")
    own = episode.agent_pos.shape[1]
    first = own + episode.estimate.shape[1]
    return (*range(own), *range(first, first + episode.features.shape[1]))


def learner_columns(config: Config, episode: Episode) -> tuple[int, ...] | None:
    """`input_columns` for the learner: one that sees pixels has what the arm knows beside them, and no estimate."""
    return (
        tuple(range(episode.agent_pos.shape[1])) if config.observation == "pixels" else input_columns(config, episode)
    )


def eyes_of(config: Config) -> Eyes | None:
    """The cameras that the learner looks through; None where it sees no pixels."""
    if config.observation != "pixels":
        return None
    from robo_reward.learning.pixels import Eyes

    return Eyes(config.env.cameras, config.env.image_size)


def check_frames(episodes: Sequence[Episode], eyes: Eyes) -> None:
    """Raises ValueError for a demonstration that lacks frames, or whose frames are not those that `eyes` look at."""
    for episode in episodes:
        _every_frame(episode, "observation=pixels")
        try:
            eyes.frames(episode.frames)
        except ValueError as error:
            raise ValueError(f"demonstration {episode.episode_id}: {error}") from None


def with_base_actions(episode: Episode, base: Policy) -> Episode:
    """The episode with what the base policy would have done at each of its observations, its queue kept as it goes."""
    views: Sequence[str] = getattr(base, "views", ())
    if views:
        _every_frame(episode, "a base policy with cameras")
    state, actions, phases = base.initial_state(1), [], []
    for step, (agent_pos, estimate) in enumerate(zip(episode.agent_pos, episode.perceived, strict=True)):
        shown = {view: frames[step] for view, frames in episode.frames.items()} if views else {}
        state = looked(base, state, {"instruction": episode.instruction, "views": shown})
        phases.append(base.phase(state)[0])
        action, state = base.act(agent_pos[None], estimate[None], state)
        actions.append(action[0])
    base_action, base_phase = np.asarray(actions, np.float32), np.asarray(phases, np.float32)
    return replace(episode, base_action=base_action, base_phase=base_phase, base_id=base.policy_id)


def sight(config: Config, data: StageResult | Path, base: Policy) -> Callable[[World], World]:
    """What to put around a world so that base and learner see what they were made for; picklable.

    Args:
        data: of `observed_stage`, or its folder.
        base: its cameras, if it has any, are shown to it, as they are to a learner that sees pixels.
    """
    folder = data if isinstance(data, Path) else data.path
    encoder = folder / ENCODER if config.observation == "features" else None
    return partial(_see, encoder, bool(getattr(base, "views", ())) or config.observation == "pixels")


def _see(encoder: Path | None, show: bool, env: World) -> World:
    if encoder is None and not show:
        return env
    from robo_reward.envs.seeing import Seeing

    if encoder is None:
        return Seeing(env, None, show)
    from robo_reward.progress.frame_features import FrameFeatures

    return Seeing(env, FrameFeatures.load(encoder), show)


def _every_frame(episode: Episode, who: str) -> None:
    if not episode.frames or len(episode.frame_steps) != len(episode) + 1:
        raise ValueError(
            f"{who} needs the frames of every step, and demonstration {episode.episode_id} has "
            f"{len(episode.frame_steps) if episode.frames else 0} of {len(episode) + 1}: set collect.all_frames=true, "
            "or give a dataset with the videos of its cameras"
        )

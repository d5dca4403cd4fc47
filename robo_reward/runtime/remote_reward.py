"""reward=remote: who serves which model, and the references and tracker that its answers go through here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_reward.config import Config
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.stages import StageResult

if TYPE_CHECKING:
    from robo_reward.progress.models.remote import RemoteModel

REFERENCES = {"robo_reward": 3, "openai": 1}
"""Demonstrations that every question is asked with: as the compact model, or as a language model can be afforded."""


def remote_stage(config: Config, data: StageResult) -> StageResult:
    """The reward model at `reward.url`, which is asked who it is: another one there is another stage.

    Raises:
        Unanswered, ValueError: no such server, or one that cannot be this run's reward model.
    """
    model = open_remote(config)
    key = {"url": config.reward.url, "api": config.reward.api, "served": model.settings, "calls": model.caller.settings,
           "fusion": config.reward.fusion, "every": config.collect.query_every}  # fmt: skip
    return kept_stage(config, "train-reward", key, [data], lambda folder: _keep(config, data, model, folder))


def open_remote(config: Config) -> RemoteModel:
    """The client of `reward.url`, with what the server says of its model."""
    from robo_reward.progress.calls import Caller, CallSettings
    from robo_reward.progress.models.remote import RemoteModel, ask_served

    r = config.reward
    caller = Caller(r.url or "", CallSettings(r.deadline_s, r.attempts, r.concurrency, r.cool_down_s))
    served = ask_served(caller)
    cameras = r.views or config.env.cameras
    if not set(cameras) & set(served.views):
        raise ValueError(
            f"reward.url={r.url}: its model knows the views {', '.join(served.views)}, here there is "
            f"{', '.join(cameras)}: serve a model of this task"
        )
    if served.image_size != config.env.image_size:
        raise ValueError(
            f"reward.url={r.url}: its model takes pictures of {served.image_size} px: set "
            f"env.image_size={served.image_size}"
        )
    return RemoteModel(caller, served)


def _keep(config: Config, data: StageResult, model: RemoteModel, folder: Path) -> dict[str, Any]:
    from robo_reward.progress.references import References
    from robo_reward.progress.tracker import TrackerSettings
    from robo_reward.progress.training import RewardModel

    every, served = config.collect.query_every, model.settings
    demonstrations = read_split(data.path, "demos", every, config.reward.views)
    references = References.from_demonstrations(demonstrations, REFERENCES[config.reward.api])
    tracker = TrackerSettings(
        every=every, fusion=config.reward.fusion, differences=served.differences, completion=served.completion
    )
    RewardModel(model, references, tracker).save(folder)
    return {"model_id": served.model_id, "completion": asdict(served.completion)}

"""reward=remote: who serves which model, and the references and tracker that its answers go through here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_reward.config import Config
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import task_of

if TYPE_CHECKING:
    from robo_reward.progress.calls import Caller, CallSettings
    from robo_reward.progress.models.chat import ChatModel
    from robo_reward.progress.models.remote import RemoteModel


def remote_stage(config: Config, data: StageResult) -> StageResult:
    """The reward model at `reward.url`, which is asked who it is: another one there is another stage.

    Raises:
        Unanswered, ValueError: no such server, or one that cannot be this run's reward model.
    """
    check_remote(config)
    model = open_remote(config)
    r, settings = config.reward, model.caller.settings
    # How it is called changes no answer, but the folder keeps it, and who loads the model calls it so.
    key = {"url": r.url, "api": r.api, "model": r.model, "served": model.settings, "calls": settings,
           "views": r.views or config.env.cameras, "fusion": r.fusion,
           "every": config.collect.query_every}  # fmt: skip
    return kept_stage(config, "train-reward", key, [data], lambda folder: _keep(config, data, model, folder))


def check_remote(config: Config) -> None:
    """Raises ValueError where it is not said which server, or which of its models."""
    r = config.reward
    if r.url is None:
        raise ValueError("reward=remote asks a server: add reward.url=http://HOST:PORT")
    if r.api == "openai" and r.model is None:
        raise ValueError("reward.api=openai needs the name of a model that the server knows: add reward.model=NAME")


def call_settings(config: Config) -> CallSettings:
    """How a server is called."""
    from robo_reward.progress.calls import CallSettings

    r = config.reward
    return CallSettings(r.deadline_s, r.attempts, r.concurrency, r.cool_down_s)


def open_remote(config: Config) -> RemoteModel | ChatModel:
    """The client of `reward.url`, with what the server says of its model. Raises as `remote_stage`."""
    from robo_reward.progress.calls import Caller
    from robo_reward.progress.models.remote import RemoteModel, ask_served

    r = config.reward
    caller = Caller(r.url or "", call_settings(config))
    cameras = r.views or config.env.cameras
    if r.api == "openai":
        return _open_chat(config, caller, cameras)
    served = ask_served(caller)
    if not set(cameras) & set(served.views):
        raise ValueError(
            f"reward.url={r.url}: its model knows the views {', '.join(served.views)}, here there is "
            f"{', '.join(cameras)}: serve a model of this task"
        )
    if served.image_size not in (None, config.env.image_size):
        raise ValueError(
            f"reward.url={r.url}: its model takes pictures of {served.image_size} px: set "
            f"env.image_size={served.image_size}"
        )
    return RemoteModel(caller, served)


def _open_chat(config: Config, caller: Caller, cameras: tuple[str, ...]) -> ChatModel:
    from robo_reward.progress.completion import CompletionRule
    from robo_reward.progress.models.chat import ChatModel, ask_name
    from robo_reward.progress.models.remote import Served

    name = config.reward.model or ""
    rule = CompletionRule(sustain=config.completion.sustain)
    served = Served(ask_name(caller, name), cameras, None, len(task_of(config.env).stages), 1, False, rule)
    return ChatModel(caller, served, name)


def _keep(config: Config, data: StageResult, model: RemoteModel | ChatModel, folder: Path) -> dict[str, Any]:
    from robo_reward.progress.references import References
    from robo_reward.progress.reward_model import RewardModel
    from robo_reward.progress.tracker import TrackerSettings

    every, served = config.collect.query_every, model.settings
    demonstrations = read_split(data.path, "demos", every, config.reward.views)
    references = References.from_demonstrations(demonstrations, served.references)
    tracker = TrackerSettings(
        every=every, fusion=config.reward.fusion, differences=served.differences, completion=served.completion
    )
    RewardModel(model, references, tracker).save(folder)
    return {"model_id": model.model_id}

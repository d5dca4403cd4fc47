"""The stage of the frozen base policy: trained on the demonstrations, distilled from a run, or brought along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_reward.config import Config
from robo_reward.data.store import TransitionStore, find_store
from robo_reward.interfaces import Policy
from robo_reward.runtime.demonstrations import check_demonstrations, read_demonstrations
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.observing import input_columns
from robo_reward.runtime.run_folder import SUMMARY, write_atomic
from robo_reward.runtime.stages import MARKER, StageResult, manifest
from robo_reward.runtime.tasks import task_of
from robo_reward.runtime.worlds import action_size
from robo_reward.types import Episode

if TYPE_CHECKING:
    from robo_reward.policies.cloning import CloningSettings

_COLUMNS = "columns.json"


def check_base(config: Config) -> None:
    """Raises ValueError for a base policy that cannot be had, before anything is computed for it."""
    b = config.base
    if config.observation != "state" and not config.env.cameras:
        raise ValueError(
            f"observation={config.observation} looks through cameras, and env.cameras=[] names none: name some, or set "
            "observation=state"
        )
    setting = {"lerobot": "path", "distilled": "run", "remote": "url"}.get(b.kind)
    if setting is not None and getattr(b, setting) is None:
        raise ValueError(f"base={b.kind} needs base.{setting}=...")
    if b.kind == "distilled":
        _store_of(config)
    if b.kind == "lerobot" and not Path(b.path or "").is_dir():
        raise ValueError(f"base.path={b.path} is no folder: give the one that LeRobot's save_pretrained wrote")
    if b.kind == "remote":
        load_base(config, Path())


def base_stage(config: Config, data: StageResult) -> StageResult:
    """The frozen base policy, from the demonstrations of `observed_stage`."""
    key: dict[str, Any] = {
        "base": config.base, "seed": config.seed, "env": config.env.id, "columns": task_of(config.env).columns,
    }  # fmt: skip
    outside = _outside(config)
    if outside is not None:
        key["files"] = manifest(outside)
    return kept_stage(config, "train-base", key, [data], lambda folder: _train_base(config, data, folder))


def _store_of(config: Config) -> Path:
    """The transition store of `base.run`: of a run of `train`, of its training stage, or the store itself."""
    folder = Path(config.base.run or "")
    try:
        folder = Path(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["train_folder"])
    except (OSError, ValueError, KeyError):
        pass
    return find_store(folder)


def _outside(config: Config) -> Path | None:
    """The folder that a base policy comes from, where it is not made of the run's own data."""
    if config.base.kind == "distilled":
        return _store_of(config)
    return Path(config.base.path or "") if config.base.kind == "lerobot" else None


def _train_base(config: Config, data: StageResult, folder: Path) -> dict[str, Any]:
    import torch

    demos = read_demonstrations(data.path, views=())
    check_demonstrations(demos, action_size(config))
    kind = config.base.kind
    if kind in ("zero", "remote"):
        return {"base": kind}
    torch.set_num_threads(1)
    demos = _successes(config, data) if kind == "distilled" else demos[: config.base.demos]
    columns = input_columns(config, demos[0])
    if kind in ("act", "diffusion", "lerobot"):
        write_atomic(folder / _COLUMNS, json.dumps(columns))
    if kind == "lerobot":
        return {"base": kind, "policy_id": load_base(config, folder).policy_id}
    if kind in ("act", "diffusion"):
        from robo_reward.policies.lerobot_training import train_lerobot

        return train_lerobot(kind, demos, cloning_settings(config), columns, folder)
    from robo_reward.policies.cloning import train_cloning

    policy, summary = train_cloning(demos, cloning_settings(config), columns)
    policy.save(folder)
    return summary


def _successes(config: Config, data: StageResult) -> list[Episode]:
    """The successful online rollouts of the run that is distilled."""
    from robo_reward.runtime.experience import DEMONSTRATIONS

    run = _store_of(config)
    stage = run.parent / MARKER
    if config.observation == "features" and stage.is_file():
        seen = [digest for name, digest in json.loads(stage.read_text())["inputs"] if name == "observe"]
        if seen != [data.digest]:
            raise ValueError(
                f"base.run={config.base.run} saw features of another reward model, or none: distil it with the "
                "settings of data and reward that it was trained with"
            )
    with TransitionStore(run) as store:
        wanted = [entry.episode_id for entry in store.episodes() if entry.actor != DEMONSTRATIONS]
        found = [episode for name in wanted if (episode := store.read(name, frames=False)).success]
    if not found:
        raise ValueError(f"base.run={config.base.run} has no successful rollout to clone: give a run that succeeded")
    return found


def cloning_settings(config: Config) -> CloningSettings:
    """The base section as behaviour cloning's settings."""
    from robo_reward.policies.cloning import CloningSettings

    b = config.base
    return CloningSettings(b.chunk, b.hidden, b.steps, b.batch, b.learning_rate, seed=config.seed)


def load_base(config: Config, stage: StageResult | Path) -> Policy:
    """The base policy that `base_stage` left."""
    folder, b = stage if isinstance(stage, Path) else stage.path, config.base
    if b.kind == "zero":
        from robo_reward.policies.simple import ZeroPolicy

        return ZeroPolicy(action_size(config))
    if b.kind == "remote":
        from robo_reward.policies.remote import connect

        return connect(
            b.url or "", action_size(config), b.chunk, config.env.cameras, names=b.names, ensemble=b.ensemble,
            scale=b.action_scale, timeout_s=b.timeout_s,
        )  # fmt: skip
    if b.kind in ("act", "diffusion", "lerobot"):
        from robo_reward.policies.lerobot import load_lerobot

        columns = json.loads((folder / _COLUMNS).read_text(encoding="utf-8"))
        source = Path(b.path or "") if b.kind == "lerobot" else folder
        policy = load_lerobot(source, columns, ensemble=b.ensemble, scale=b.action_scale)
        if policy.action_size != (size := action_size(config)):
            raise ValueError(f"base.path={source} has {policy.action_size} actions, {config.env.id} takes {size}")
        return policy
    from robo_reward.policies.cloning import ClonedPolicy

    cloned = ClonedPolicy.load(folder, b.ensemble)
    if b.kind != "search":
        return cloned
    from robo_reward.policies.simple import SearchingPolicy

    return SearchingPolicy(cloned)

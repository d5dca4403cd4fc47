"""A training run small enough for a test: learner and actors of the real kind, on episodes of a few steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.config import (
    AgentConfig,
    Config,
    EnvConfig,
    RewardConfig,
    RunConfig,
    RuntimeConfig,
    TrainConfig,
)
from robo_reward.evaluation.rollout import run_policy
from robo_reward.learning.networks import mlp
from robo_reward.policies.cloning import ClonedPolicy
from robo_reward.runtime.local import Taught, train_residual
from robo_reward.testing.episodes import oracle

ROLLOUTS = 5


def small_config(
    folder: Path, rollouts: int = ROLLOUTS, horizon: int = 8, evaluate_every: int = 2, **runtime: Any
) -> Config:
    """Settings of a run that writes into `folder`; `runtime`: as in `RuntimeConfig`."""
    return Config(
        quiet=True,
        run=RunConfig(root=str(folder / "own"), dir=str(folder / "run")),
        env=EnvConfig(horizon=horizon),
        reward=RewardConfig(kind="oracle"),
        agent=AgentConfig(hidden=16, heads=3, batch=8, updates_per_step=1),
        train=TrainConfig(
            rollouts=rollouts, warmup_rollouts=1, warmup_updates=3, evaluate_every=evaluate_every, evaluate_episodes=1
        ),
        runtime=replace(RuntimeConfig(kind="async", patience_s=20.0), **runtime),
    )  # fmt: skip


def small_school(config: Config, folder: Path) -> Taught:
    """World, base policy and demonstrations for it; the base is kept in `folder`."""
    env: gymnasium.Env[Any, Any] = gymnasium.make(config.env.id, horizon=config.env.horizon)
    spaces = env.observation_space
    assert isinstance(spaces, gymnasium.spaces.Dict)
    inputs = sum((spaces[key].shape or (0,))[0] for key in ("agent_pos", "estimate"))
    torch.manual_seed(0)
    cloned = ClonedPolicy(mlp(inputs, 8, 8 * 4), np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 8, 4)
    cloned.save(folder / "base")
    base = ClonedPolicy.load(folder / "base", None)
    demonstrations = list(run_policy(env, base, [1, 2], source="expert"))
    return Taught(env, base, demonstrations, oracle, lambda name: oracle, None, {"base": folder / "base"})


def learn_locally(
    config: Config, school: Taught, folder: Path, log: Callable[..., None] = lambda *_, **numbers: None
) -> dict[str, Any]:
    """The same run with runtime=local."""
    s = school
    assert s.env is not None
    return train_residual(config, s.env, s.base, s.demonstrations, s.annotate, s.load_annotate, folder, log)


@dataclass
class Learning:
    """A learner in a thread of this process."""

    address: str = ""
    summary: dict[str, Any] | None = None
    error: BaseException | None = None
    thread: threading.Thread | None = None

    def wait(self) -> dict[str, Any]:
        """Its summary; raises what it raised."""
        assert self.thread is not None
        self.thread.join(120)
        if self.error is not None:
            raise self.error
        assert self.summary is not None, "the learner did not end"
        return self.summary


@contextmanager
def learning(
    config: Config, school: Taught, folder: Path, *, address: str = "127.0.0.1:0", token: str = "",
    log: Callable[..., None] = lambda *_, **numbers: None,
) -> Iterator[Learning]:  # fmt: skip
    """A learner that listens until its rollouts have come."""
    from robo_reward.runtime.learner import run_learner

    made, listening = Learning(), threading.Event()

    def ready(at: str) -> None:
        made.address = at
        listening.set()

    def run() -> None:
        try:
            made.summary = run_learner(config, school, folder, log, address=address, token=token, ready=ready)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            made.error = error
        finally:
            listening.set()

    made.thread = threading.Thread(target=run, daemon=True)
    made.thread.start()
    listening.wait(60)
    if made.error is not None:
        raise made.error
    yield made


def learn_small(
    config: Config, folder: Path, *, address: str, token: str, ready: Callable[[str], None], log: Callable[..., None]
) -> dict[str, Any]:
    """The learner's role of a small run, for `supervise` and `launch`."""
    from robo_reward.runtime.learner import run_learner

    school = small_school(config, folder)
    return run_learner(config, school, folder / "stage", log, address=address, token=token, ready=ready)

"""The stage of the residual learner: what it starts with, in which processes it runs, what it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from robo_reward.config import HOP_MODELS, Config
from robo_reward.data.split import iterate_split
from robo_reward.interfaces import Policy
from robo_reward.runtime.bases import load_base
from robo_reward.runtime.believed import make_judge
from robo_reward.runtime.demonstrations import read_demonstrations
from robo_reward.runtime.distil import find_teacher, teaching
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.observing import ENCODER, check_frames, eyes_of, sight, with_base_actions
from robo_reward.runtime.potentials import learner_annotate, load_annotate
from robo_reward.runtime.role_log import FOLDER as LOGS
from robo_reward.runtime.stages import StageResult, manifest
from robo_reward.runtime.worlds import ROBOT_LOG, open_world, world_key
from robo_reward.terminal import say

if TYPE_CHECKING:
    from robo_reward.learning.residual_td3 import ResidualTD3
    from robo_reward.runtime.local import Taught

Log = Callable[..., None]


def residual_stage(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, log: Log
) -> StageResult:
    """The residual learner; resumed from its last checkpoint when it was interrupted."""
    world = {**world_key(config), "count": config.env.count}  # so many rollouts share a policy
    agent = {name: value for name, value in asdict(config.agent).items() if name != "device"}  # a run may change it
    key = {"agent": agent, "shaping": config.shaping, "train": config.train, "seed": config.seed,
           "reward": config.reward.kind, "every": config.collect.query_every, "env": world,
           "hil": config.hil}  # fmt: skip
    if (teacher := find_teacher(config)) is not None:
        key |= {"teacher": manifest(teacher), "teacher_every": config.reward.teacher_every}
    if config.command == "learner" or config.runtime.kind != "local":
        r = config.runtime
        key |= {"runtime": {"actors": r.actors, "ahead": r.ahead, "staleness": r.staleness}}
    if config.observation == "pixels":  # the others show in what `data` is
        key["observation"] = config.observation
    inputs = [data, base, *([reward] if reward else [])]
    return kept_stage(config, "train", key, inputs, lambda folder: _train(config, data, reward, base, folder, log),
                  resumable=True)  # fmt: skip


def _train(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, folder: Path, log: Log
) -> dict[str, Any]:
    learn = partial(learn_from_actors, config, data, reward, base, folder)
    if config.command == "learner":
        from robo_reward.runtime.link import own_token

        def ready(address: str) -> None:
            say(f"waiting for actors: robo-reward actor runtime.connect={address}")

        return learn(address=config.runtime.listen, token=own_token(), ready=ready, log=log)
    if config.runtime.kind == "async":
        from robo_reward.runtime.supervisor import supervise

        summary = supervise(config, learn, log)
        if (moved := Path(config.run.dir) / LOGS / ROBOT_LOG).is_file():  # by the actor
            shutil.copyfile(moved, folder / ROBOT_LOG)
        return summary
    if config.runtime.kind == "ray":
        from robo_reward.runtime.ray_roles import launch

        return launch(config, learn, log)

    from robo_reward.runtime.local import train_residual

    with taught(config, data, reward, base, folder) as school:
        assert school.env is not None
        if config.hil.kind in ("console", "device"):
            from robo_reward.console.serving import watch_with
            from robo_reward.console.training import train_attended

            assert isinstance(school.env, gymnasium.Env)  # Config refuses several with an operator
            watch = watch_with(reward.path if reward and config.reward.kind in HOP_MODELS else None)
            return train_attended(
                config, school.env, school.base, school.demonstrations, school.annotate, load_annotate, watch, folder,
                log,
            )  # fmt: skip
        return train_residual(
            config, school.env, school.base, school.demonstrations, school.annotate, load_annotate, folder, log,
            school.judge,
        )  # fmt: skip


def learn_from_actors(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, folder: Path, *, address: str,
    token: str, ready: Callable[[str], None], log: Log,
) -> dict[str, Any]:  # fmt: skip
    """The learner's role of this stage, see `run_learner`."""
    from robo_reward.runtime.learner import run_learner

    with taught(config, data, reward, base, folder, world=not config.robot) as school:
        return run_learner(config, school, folder, log, address=address, token=token, ready=ready)


@contextmanager
def taught(
    config: Config, data: StageResult, reward: StageResult | None, base: StageResult, folder: Path, world: bool = True
) -> Iterator[Taught]:
    """What the learner of this stage starts with; `world`: whether it opens one of its own."""
    import torch

    from robo_reward.runtime.local import Taught, frames_every

    torch.set_num_threads(1)  # two threads are slower at this size, and one gives the same sums everywhere
    every = frames_every(config)
    views = None if every or config.hil.judge == "classifier" else ()
    demos = read_demonstrations(data.path, every or config.collect.query_every, views)
    if (eyes := eyes_of(config)) is not None:
        check_frames(demos, eyes)
    annotate, policy = learner_annotate(config, reward), load_base(config, base)
    if getattr(policy, "views", ()):
        whole = (with_base_actions(e, policy) for e in iterate_split(data.path / "demos") if e.success)
        demos = [
            replace(demo, base_action=e.base_action, base_phase=e.base_phase, base_id=e.base_id)
            for demo, e in zip(demos, whole, strict=True)
        ]
    judged = reward is not None and config.train.task_reward == "completion"
    judge = make_judge(reward.path, config.train.done_at) if reward and judged else None
    files = {"base": base.path}
    if config.observation == "features":
        files[ENCODER] = data.path / ENCODER
    with teaching(config, folder), ExitStack() as stack:
        wrap = sight(config, data, policy)
        env = stack.enter_context(closing(open_world(config, folder, wrap))) if world else None
        yield Taught(env, policy, demos, annotate, load_annotate, judge, files)


def recheck_stage(config: Config, reward: StageResult, trained: StageResult) -> StageResult:
    """The completion rule on the learner's own rollouts."""
    return kept_stage(config, "recheck", {}, [reward, trained],
                  lambda folder: _recheck(config, reward, trained, folder))  # fmt: skip


def _recheck(config: Config, reward: StageResult, trained: StageResult, folder: Path) -> dict[str, Any]:
    from robo_reward.runtime.recheck import recheck_completion, write_rows

    summary, rows = recheck_completion(trained.path, reward.path, config.quiet)
    write_rows(rows, folder)
    return summary


def load_agent(config: Config, data: StageResult, base: Policy, trained: StageResult) -> ResidualTD3:
    """The trained agent of `residual_stage`."""
    from robo_reward.learning.weights import load_weights
    from robo_reward.runtime.local import new_agent

    agent = new_agent(config, read_demonstrations(data.path, views=()), base)
    agent.load_state_dict(load_weights(trained.path / "agent")[0])
    return agent

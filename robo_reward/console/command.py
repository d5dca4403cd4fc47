"""`robo-reward console`: a live session with the simulated arm, in the browser."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.console.curves import shaping_term
from robo_reward.console.labels import worlds_word
from robo_reward.console.session import Session
from robo_reward.hil.corrected import Policy as PlanningActor
from robo_reward.hil.protocol import ABORTED, LABELS
from robo_reward.hil.session import summarise_session
from robo_reward.interfaces import Policy
from robo_reward.policies.chunks import looked
from robo_reward.runtime import steps
from robo_reward.runtime.collecting import dataset_stage
from robo_reward.runtime.observing import sight
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import first_seed, make_env, task_of


class BaseActor:
    """The frozen base policy alone, in one episode."""

    def __init__(self, base: Policy) -> None:
        self.base, self.base_id = base, base.policy_id
        self.info: Mapping[str, Any] = {}
        self.flush()

    def watch(self, info: Mapping[str, Any]) -> None:
        """Takes in what the environment says."""
        self.info = info

    def flush(self) -> None:
        """Drop what it had planned."""
        self.state = self.base.initial_state(1)

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phase = self.base.phase(self.state)[0]
        state = looked(self.base, self.state, self.info)
        action, self.state = self.base.act(agent_pos[None], estimate[None], state)
        return action[0], np.concatenate([action[0], phase]).astype(np.float32)


def console(config: Config) -> dict[str, Any]:
    """Serve a session until interrupted; called again with the same settings it goes on with it."""
    if config.console.page in ("review", "keyframes"):
        return _look(config)
    from robo_reward.console.serving import serving, watch_with

    steps.check_base(config)
    watching = config.console.page == "watch"
    with RunFolder(config.run.dir, config, "console", config.quiet) as run:
        data = dataset_stage(config)
        reward = steps.reward_stage(config, data) if config.reward.kind == "compact" else None
        seen = steps.observed_stage(config, data)
        base = steps.base_stage(config, seen)
        policy, task = steps.load_base(config, base), task_of(config.env)
        with closing(sight(config, seen, policy)(make_env(config.env))) as env:
            session = Session(
                env, _actors(config, data, seen, base, policy, run), Path(config.run.dir) / "session", fps=task.fps,
                first_seed=first_seed(config.seed, "session"), watch=watch_with(reward.path if reward else None),
                query_every=config.collect.query_every, blend_steps=config.hil.blend_steps,
                automatic=worlds_word if watching else None, term=shaping_term(config),
            )  # fmt: skip
            with serving(session, config.console.port, watching):
                if watching:
                    session.go()
                session.run()
        figures = summarise_session(session.store.read_all(frames=False), task.fps, config.agent.residual_scale)
        labels = {f"labelled_{label}": session.protocol.labels.count(label) for label in (*LABELS, ABORTED)}
        return run.finish({**figures, **labels})


def _look(config: Config) -> dict[str, Any]:
    """The pages without a session: past episodes, or a dataset's keyframes."""
    from robo_reward.console.archive import Archive
    from robo_reward.console.keyframes import Keyframes
    from robo_reward.console.serving import serve_alone
    from robo_reward.data.store import find_store

    with RunFolder(config.run.dir, config, "console", config.quiet) as run:
        folder = Path(config.run.dir)
        if config.console.page == "review":
            past = find_store(config.store or "").parent
            serve_alone(lambda token: Archive(past, token), config.console.port)
            return run.finish({"reviewed": str(past)})
        task = task_of(config.env)
        serve_alone(
            lambda token: Keyframes(config.dataset or "", folder, token, task.stages, task.events), config.console.port
        )
        return run.finish({"keyframes": str(folder / "keyframes.json")})


def _actors(
    config: Config, data: StageResult, seen: StageResult, base: StageResult, policy: Policy, run: RunFolder
) -> Callable[[], PlanningActor]:
    """Makes the actor of an episode: the base policy, or the trained one on top of it."""
    if config.console.policy == "base":
        return lambda: BaseActor(policy)
    from robo_reward.runtime.acting import trained_actor
    from robo_reward.runtime.local import needs_frames

    shaped_by = steps.reward_stage(config, data) if needs_frames(config) else None
    agent = steps.load_agent(config, seen, policy, steps.residual_stage(config, seen, shaped_by, base, run.log))
    numbers = itertools.count()
    return lambda: trained_actor(policy, agent, next(numbers))

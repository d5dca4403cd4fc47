"""`robo-reward console`: a live session with the simulated arm, in the browser."""

from __future__ import annotations

import itertools
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.console.session import Session, Watch
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
from robo_reward.terminal import say


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
    from robo_reward.console.server import Console, Server

    steps.check_base(config)
    with RunFolder(config.run.dir, config, "console", config.quiet) as run:
        data = dataset_stage(config)
        reward = steps.reward_stage(config, data) if config.reward.kind == "compact" else None
        seen = steps.observed_stage(config, data)
        base = steps.base_stage(config, seen)
        policy, task = steps.load_base(config, base), task_of(config.env)
        with closing(sight(config, seen, policy)(make_env(config.env))) as env:
            session = Session(
                env, _actors(config, data, seen, base, policy, run), Path(config.run.dir) / "session", fps=task.fps,
                first_seed=first_seed(config.seed, "session"), watch=_watch(reward),
                query_every=config.collect.query_every,
            )  # fmt: skip
            axes = ("dx", "dy", "dz", "dyaw", "gripper")[: session.action_size]
            token = secrets.token_urlsafe(16)
            server = Server(Console(session, token, axes), config.console.port)
            say(f"console: http://127.0.0.1:{server.port}/#{token}   (Ctrl-C ends the session)")
            try:
                with _stopped_by_signals(session):
                    session.run()
            finally:
                server.close()
        figures = summarise_session(session.store.read_all(frames=False), task.fps, config.agent.residual_scale)
        labels = {f"labelled_{label}": session.protocol.labels.count(label) for label in (*LABELS, ABORTED)}
        return run.finish({**figures, **labels})


@contextmanager
def _stopped_by_signals(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the session between two steps, so that the episode under way is kept."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: session.stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _actors(
    config: Config, data: StageResult, seen: StageResult, base: StageResult, policy: Policy, run: RunFolder
) -> Callable[[], PlanningActor]:
    """Makes the actor of an episode: the base policy, or the trained one on top of it."""
    if config.console.policy == "base":
        return lambda: BaseActor(policy)
    from robo_reward.runtime.local import needs_frames, trained_actor

    shaped_by = steps.reward_stage(config, data) if needs_frames(config) else None
    agent = steps.load_agent(config, seen, policy, steps.residual_stage(config, seen, shaped_by, base, run.log))
    numbers = itertools.count()
    return lambda: trained_actor(policy, agent, next(numbers))


def _watch(reward: StageResult | None) -> Callable[[str], Watch | None] | None:
    """The trained reward model's live tracker of an episode."""
    if reward is None:
        return None
    from robo_reward.progress.tracker import ProgressTracker
    from robo_reward.progress.training import load_reward

    trained = load_reward(reward.path)

    def begin(instruction: str) -> Watch | None:
        if instruction not in trained.references:
            return None
        tracker = ProgressTracker(trained.references, instruction, trained.tracker)

        def see(views: Any) -> Any:
            query = tracker.query(views)
            return tracker.progress if query is None else tracker.apply(trained.model.hop(query))

        return see

    return begin

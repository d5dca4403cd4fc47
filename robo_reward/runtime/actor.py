"""The actor's role: play rollouts in a world of its own with the newest weights there are, and lose none of them.

Everything it needs comes from the learner: settings, base policy, weights. Within a rollout nothing waits for the
learner, whatever that does; see `uplink` for what happens between two.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import numpy as np

from robo_reward import __version__
from robo_reward.config import Config
from robo_reward.evaluation.rollout import EpisodeRecorder, run_episode
from robo_reward.interfaces import Policy
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.bases import load_base
from robo_reward.runtime.link import Client, own_token
from robo_reward.runtime.local import exploring_actor, frames_every
from robo_reward.runtime.messages import Ask, Join, Part, Welcome
from robo_reward.runtime.observing import sight
from robo_reward.runtime.published import About, fetch_files, new_actor_agent, read_about, take_weights
from robo_reward.runtime.role_log import FOLDER as LOGS
from robo_reward.runtime.role_log import RoleLog
from robo_reward.runtime.spool import Spool
from robo_reward.runtime.tasks import first_seed
from robo_reward.runtime.tls import read_root
from robo_reward.runtime.uplink import Uplink, ask
from robo_reward.runtime.worlds import open_world
from robo_reward.settings import build
from robo_reward.terminal import say

ACTORS = "actors"
"""Below `run.root`: the spools, and the logs of actors that were started by hand."""
R = TypeVar("R")


def actor(config: Config) -> dict[str, Any]:
    """The `actor` command: play for the learner at `runtime.connect` until its run is over.

    Returns:
        {"rollouts": how many it has played}
    """
    if (address := config.runtime.connect) is None:
        raise ValueError("actor needs the learner's address: runtime.connect=HOST:PORT")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the world is closed, an arm stopped
    config = replace(config, run=replace(config.run, dir=str(Path(config.run.root) / ACTORS)))
    played = run_actor(config, address, config.runtime.actor, own_token(), read_root(config.runtime))
    say(f"the run is over: {played} rollouts played", config.quiet)
    return {"rollouts": played}


def run_actor(own: Config, address: str, number: int, token: str, root: bytes | None = None) -> int:
    """Play until the run is over; returns the number of rollouts.

    Args:
        own: the actor's own settings: where it writes, how long it is patient, and the robot at its side, if it has
            one; everything else is the learner's.
        address: HOST:PORT of the learner.
        number: of this actor.
        token: of both sides.
        root: see `Client`.

    Raises:
        ValueError: the learner refuses this actor or is not there, or the world is not the one that it learns in.
    """
    import torch

    torch.set_num_threads(1)
    session = os.urandom(8).hex()
    with closing(Client(address, token, root)) as client:

        def tell(method: str, message: Any, reply: type[R]) -> R:
            def waiting(why: str) -> None:
                say(f"waiting for the learner at {address} ({why})", own.quiet)

            return ask(client, method, message, reply, own.runtime.patience_s, waiting)

        def part(name: str, offset: int) -> bytes:
            return tell("Get", Ask(number, session, name, offset), Part).data

        welcome = tell("Join", Join(__version__, number, session, take=False), Welcome)
        config, about = _settings(own, welcome), read_about(welcome.about)
        folder = Path(own.run.root) / ACTORS / f"{_word(welcome.run)}-{number}"
        with (
            closing(Spool(folder)) as spool,
            closing(RoleLog(Path(own.run.dir), f"actor-{number}", welcome.run)) as log,
        ):
            # Only now: another process that holds the spool keeps its place in the run.
            welcome = tell("Join", Join(__version__, number, session), Welcome)
            log.tell("joined", address=address, next=welcome.next, waiting=spool.records)
            fetch_files(about, folder / "files", part)
            base, agent = load_base(config, folder / "files" / "base"), new_actor_agent(config, about)
            first, begun = first_seed(config.seed, "online") + number, welcome.begun
            if spool.newest_seed is not None:
                begun = max(begun, (spool.newest_seed - first) // config.runtime.actors + 1)
            for _ in range(begun):
                base.initial_state(1)  # a scripted base draws every episode's style: pass over those that were used
            logs = Path(own.run.dir) / LOGS  # where a robot's own log goes
            with closing(open_world(config, logs, sight(config, folder / "files", base))) as world:
                assert isinstance(world, gymnasium.Env)  # Config refuses several
                _check_world(world, about)
                uplink = Uplink(client, welcome, session, spool, agent, config.runtime, number, log.tell)
                with closing(uplink):
                    rollouts = itertools.count(number + config.runtime.actors * begun, config.runtime.actors)
                    played = _play(config, world, base, agent, uplink, spool, log, rollouts)
            log.tell("done", played=played)
        shutil.rmtree(folder, ignore_errors=True)
    return played


def _play(
    config: Config, world: gymnasium.Env[Any, Any], base: Policy, agent: ResidualTD3, uplink: Uplink, spool: Spool,
    log: RoleLog, rollouts: Iterator[int],
) -> int:  # fmt: skip
    """Rollouts of these numbers until the run is over; returns how many there were."""
    played = 0
    while uplink.wait_turn(lambda words: say(words, config.quiet)):
        if (fresh := uplink.weights()) is not None:
            take_weights(agent, fresh[1])
        pace, rollout = Pace(spool), next(rollouts)
        episode = run_episode(
            world, exploring_actor(config, base, agent, rollout), seed=first_seed(config.seed, "online") + rollout,
            source="policy", query_every=frames_every(config), follow=pace,
        )  # fmt: skip
        played += 1
        log.tell("played", rollout=rollout, episode=episode.episode_id, success=episode.success, version=uplink.version,
                 sent_bytes=uplink.sent_bytes, **pace.summary())  # fmt: skip
    return played


@dataclass
class Pace:
    """Follows a rollout into the spool and takes the time from one action to the next."""

    spool: Spool
    intervals_s: list[float] = field(default_factory=list)
    _last: float = 0.0

    def __call__(self, recorder: EpisodeRecorder) -> None:
        now = time.perf_counter()
        if len(recorder) and not recorder.ended:
            self.intervals_s.append(now - self._last)
        self._last = now
        self.spool.follow(recorder)

    def summary(self) -> dict[str, float]:
        """Steps and their intervals."""
        if not self.intervals_s:
            return {"steps": 1}
        p50, p99 = np.percentile(self.intervals_s, [50, 99])
        return {"steps": len(self.intervals_s) + 1, "step_p50_ms": round(p50 * 1e3, 3),
                "step_p99_ms": round(p99 * 1e3, 3)}  # fmt: skip


def _settings(own: Config, welcome: Welcome) -> Config:
    """The run's settings, but for where this actor writes, how patient it is, and how its own robot is reached."""
    try:
        config = build(Config, json.loads(welcome.config))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the learner's settings cannot be used here: {error}") from None
    if own.robot and not config.robot:
        raise ValueError("robot= is this actor's and not the learner's: give the learner the same robot=")
    runtime = replace(config.runtime, patience_s=own.runtime.patience_s)
    return replace(config, run=own.run, runtime=runtime, robot=own.robot or config.robot, quiet=own.quiet)


def _check_world(world: gymnasium.Env[Any, Any], about: About) -> None:
    """Raise ValueError where the world is not the one that the learner's agent was made for."""
    size = int(np.prod(world.action_space.shape or ()))
    if size != about.action_size:
        raise ValueError(f"this actor's world takes {size} numbers an action, the learner's {about.action_size}")
    spaces = world.observation_space
    assert isinstance(spaces, gymnasium.spaces.Dict)
    seen = sum(
        int(np.prod(spaces[name].shape or ()))
        for name in ("agent_pos", "estimate", "features")
        if name in spaces.spaces
    )
    columns = range(seen) if about.columns is None else about.columns
    if len(columns) != len(about.mean) or not all(0 <= column < seen for column in columns):
        raise ValueError(f"this actor's world shows {seen} numbers an observation, not what the learner's agent sees")


def _word(run: str) -> str:
    """The run's id, which becomes a folder's name."""
    if not run.isalnum() or len(run) > 64:
        raise ValueError(f"the learner's run id {run[:80]!r} is none")
    return run

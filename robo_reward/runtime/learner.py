"""The learner's role: learn from every rollout that actors send, in the order in which the store has them.

So many updates for every step of data, and none before the data is there; what it learns follows from the store alone,
so that a learner that was killed, or a fresh one on the same store, ends bit for bit the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.runtime.intake import Intake, run_id
from robo_reward.runtime.link import Server
from robo_reward.runtime.local import Taught, open_learner
from robo_reward.runtime.role_log import HEALTH, RoleLog
from robo_reward.runtime.tls import read_keys
from robo_reward.terminal import progress, say
from robo_reward.types import Episode

Log = Callable[..., None]
_HEALTH_S, _SILENT_S = 1.0, 30.0


def run_learner(
    config: Config, taught: Taught, folder: Path, log: Log, *, address: str, token: str, ready: Callable[[str], None]
) -> dict[str, Any]:
    """`local.train_residual` with the rollouts of actors, which it waits for at the address; called again on the same
    folder it goes on.

    Args:
        log: see `RunFolder.log`.
        address: HOST:PORT, see `link.Server`.
        ready: told the address with its true port.

    Raises:
        ValueError: the address cannot be had, its certificate is none, or another process learns in this folder.
    """
    train, t, keys = config.train, taught, read_keys(config.runtime)
    learning = open_learner(config, t.base, t.demonstrations, t.annotate, t.load_annotate, folder, log, t.judge)
    with learning as learner, closing(RoleLog(Path(config.run.dir), "learner", run_id(folder))) as own:
        counters = learner.counters
        for _ in range(sum(row[3] for row in counters.curve)):
            t.base.initial_state(1)  # see `local.train_residual`; actors have bases of their own
        intake = Intake(config, learner, folder, t.files, own)
        told = Path(config.run.dir) / HEALTH
        served = Server(address, intake.methods, token, lambda words: own.tell("trouble", words=words), keys)
        with closing(served) as server:
            ready(server.address)
            own.tell("listening", address=server.address, rollouts=counters.rollouts)
            with _repeating(lambda: intake.write_health(told, "learning"), _HEALTH_S):
                rollouts = range(counters.rollouts, train.rollouts)
                for rollout in progress(rollouts, len(rollouts), "train", config.quiet):
                    episode = _next(intake, rollout, server.address, config.quiet)
                    learner.follow_reward()
                    learner.experience.take([episode])
                    learner.learn(rollout, episode, t.env)
                    saved = learner.checkpoint.save()
                    if counters.rollouts < train.rollouts:  # else an actor would begin one that nobody learns from
                        intake.publish(counters.rollouts)
                    own.tell("learned", rollout=rollout, episode=episode.episode_id, steps=len(episode),
                             updates=counters.updates, checkpoint=saved.name)  # fmt: skip
            summary = learner.finish(folder)
            intake.end()
        intake.write_health(told, "done")
        own.tell("done", rollouts=counters.rollouts)
        return summary


def _next(intake: Intake, rollout: int, address: str, quiet: bool) -> Episode:
    """The rollout, however long it takes to come."""
    waited = False
    while (episode := intake.wait(rollout, _SILENT_S)) is None:
        if not waited:
            say(f"waiting for rollout {rollout + 1}: is an actor connected to {address}?", quiet)
        waited = True
    return episode


class _repeating:
    """Calls a function now and then, from a thread of its own, as long as the block lasts."""

    def __init__(self, call: Callable[[], None], every_s: float) -> None:
        self._call, self._every_s, self._ended = call, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._call()
            self._ended.wait(self._every_s)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

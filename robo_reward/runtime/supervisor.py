"""runtime=async: the learner and the actors as processes of their own, started again when they die.

A role that ends by a user's mistake ends the run with its words; one that is killed or crashes is started again and
goes on from what it left on the disk. When this process goes, they go.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.extras import missing_extra
from robo_reward.runtime.role_log import RoleLog
from robo_reward.runtime.run_folder import plain_number
from robo_reward.terminal import say

Log = Callable[..., None]
Learn = Callable[..., dict[str, Any]]
"""The learner's role, picklable: `learn(address=, token=, ready=, log=)` returns the summary, see `run_learner`."""
DEATHS = 5
"""In a row, without a rollout learned from in between, after which a role is given up."""
_LEAVE_S = 10.0
_SPAWN = multiprocessing.get_context("spawn")  # gRPC and OpenGL do not survive a fork


@dataclass
class _Role:
    """A role's newest process."""

    name: str
    process: Any
    line: Connection
    deaths: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended by itself, its work done."""
        return self.process.exitcode == 0


def supervise(config: Config, learn: Learn, log: Log) -> dict[str, Any]:
    """Train in processes of their own; returns the learner's summary.

    Args:
        learn: the learner's role.
        log: see `RunFolder.log`.

    Raises:
        ValueError: a role gave up, in its words, or died again and again.
    """
    token, address = secrets.token_hex(16), "127.0.0.1:0"
    own, summary = RoleLog(Path(config.run.dir), "supervisor", ""), None
    roles: dict[str, _Role] = {}

    def start(name: str, deaths: int = 0) -> None:
        line, its = _SPAWN.Pipe()
        target = (_learn, (learn, address, token, its)) if name == "learner" else (
            _act, (config, address, int(name.split("-")[1]), token, its)
        )  # fmt: skip
        process = _SPAWN.Process(target=target[0], args=target[1], name=name)
        process.start()
        its.close()
        roles[name] = _Role(name, process, line, deaths)
        own.tell("started", name=name, pid=process.pid, deaths=deaths)

    try:
        start("learner")
        while summary is None:
            running = [role for role in roles.values() if not role.over or role.name == "learner"]
            wait([*(role.line for role in running), *(role.process.sentinel for role in running)])
            for role in running:
                alive = role.process.is_alive()  # before its last words are read
                for kind, *content in _said(role.line):
                    if kind == "ready":
                        address = content[0]
                        for number in range(config.runtime.actors):
                            if f"actor-{number}" not in roles:
                                start(f"actor-{number}")
                    elif kind == "row":
                        log(content[0], **content[1])
                        with suppress(OSError):  # dead meanwhile
                            role.line.send_bytes(b"written")
                        for each in roles.values():
                            each.deaths = 0
                    elif kind == "done":
                        summary = content[0]
                    else:
                        raise ValueError(f"{role.name}: {content[0]}")
                if summary is None and not alive and (not role.over or role.name == "learner"):
                    own.tell("died", name=role.name, code=role.process.exitcode)
                    if role.deaths + 1 >= DEATHS:
                        raise ValueError(
                            f"{role.name} died {DEATHS} times before a rollout was learned from, last with exit code "
                            f"{role.process.exitcode}: look above, and into {config.run.dir}/logs"
                        )
                    say(f"{role.name} died with exit code {role.process.exitcode}: starting it again", config.quiet)
                    role.line.close()
                    start(role.name, role.deaths + 1)
        _leave(roles, _LEAVE_S)
        return dict(summary)
    finally:
        _end(roles)
        own.close()


def _said(line: Connection) -> list[list[Any]]:
    """What a role has told since the last time; nothing any more from one that was killed."""
    found = []
    try:
        while line.poll():
            found.append(json.loads(line.recv_bytes()))
    except (EOFError, OSError):
        pass
    return found


def _leave(roles: dict[str, _Role], patience_s: float) -> None:
    """Give every role the time to end by itself."""
    deadline = time.monotonic() + patience_s
    for role in roles.values():
        role.process.join(max(0.0, deadline - time.monotonic()))


def _end(roles: dict[str, _Role]) -> None:
    """End what still runs, the actors in good order."""
    for role in roles.values():
        if role.process.is_alive():
            role.process.terminate()
    _leave(roles, _LEAVE_S / 2)
    for role in roles.values():
        if role.process.is_alive():
            role.process.kill()
        role.process.join()
        role.line.close()


def _learn(learn: Learn, address: str, token: str, line: Connection) -> None:
    """The learner's process."""
    _with_parent()

    def tell(*content: Any) -> None:
        line.send_bytes(json.dumps(content).encode())

    def log(step: int, **numbers: Any) -> None:
        tell("row", int(step), {name: plain_number(value) for name, value in numbers.items()})
        try:
            line.recv_bytes()  # before the checkpoint: what is learned has its row, whenever the supervisor is killed
        except (EOFError, OSError):
            sys.exit(143)

    def work() -> None:
        tell("done", learn(address=address, token=token, ready=lambda at: tell("ready", at), log=log))

    _told(tell, work)


def _act(config: Config, address: str, number: int, token: str, line: Connection) -> None:
    """An actor's process."""
    _with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the world is closed, an arm stopped

    def play() -> None:
        from robo_reward.runtime.actor import run_actor

        run_actor(config, address, number, token)

    _told(lambda *content: line.send_bytes(json.dumps(content).encode()), play)


def _told(tell: Callable[..., None], work: Callable[[], None]) -> None:
    """Work, and tell a user's mistake in one line; anything else is a crash."""
    try:
        work()
    except (ValueError, OSError, ImportError) as error:
        words = (missing_extra(error) if isinstance(error, ImportError) else None) or str(error)
        tell("failed", " ".join(words.split()))
        sys.exit(2)


def _with_parent() -> None:
    """Leave Ctrl-C to the supervisor, and end when that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()

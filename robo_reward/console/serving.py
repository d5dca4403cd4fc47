"""What every live session needs around it: the page beside the loop, an orderly end, the reward model's eye."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robo_reward.console.live_episode import Watch
from robo_reward.console.server import Console
from robo_reward.console.session import Session
from robo_reward.console.web import Server, Site
from robo_reward.terminal import say


@contextmanager
def serving(session: Session, port: int, watching: bool = False, driver: str = "") -> Iterator[None]:
    """The session's page while it lasts; Ctrl-C and SIGTERM end the session between two steps.

    So the episode under way is kept. Raises ValueError when the port is taken.

    Args:
        watching: whether browsers command nothing.
        driver: name of the device that drives in their place.
    """
    axes = ("dx", "dy", "dz", "dyaw", "gripper")[: session.action_size]

    def site(token: str) -> Console:
        return Console(session, token, axes, watching, driver)

    with serve(site, port, session.stop, session.folder / "token"):
        yield


def serve_alone(site: Callable[[str], Site], port: int) -> None:
    """A site without a session, until Ctrl-C or SIGTERM."""
    ended = threading.Event()
    with serve(site, port, ended.set):
        ended.wait()


@contextmanager
def serve(site: Callable[[str], Site], port: int, stop: Callable[[], None], keep: Path | None = None) -> Iterator[None]:
    """A site with a fresh token, its address on the terminal; Ctrl-C and SIGTERM call `stop`.

    Args:
        keep: file that keeps the token, so that an open page finds the same session again after a restart.
    """
    token = secrets.token_urlsafe(16) if keep is None else kept_token(keep)
    server = Server(site(token), port)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop()) for number in numbers]
    say(f"console: http://127.0.0.1:{server.port}/#{token}   (Ctrl-C ends it)")
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        server.close()


def kept_token(path: Path) -> str:
    """The token in a file that its owner alone reads; a fresh one where there is none, or where others may read it."""
    if path.is_file() and not path.stat().st_mode & 0o077 and len(token := path.read_text("utf-8")) >= 22:
        return token
    path.unlink(missing_ok=True)
    token = secrets.token_urlsafe(16)
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    return token


def watch_with(reward: Path | None) -> Callable[[str], Watch | None] | None:
    """The trained reward model's live tracker of an episode; None without a model."""
    if reward is None:
        return None
    from robo_reward.progress.reward_model import load_reward
    from robo_reward.progress.tracker import ProgressTracker

    trained = load_reward(reward)

    def begin(instruction: str) -> Watch | None:
        if instruction not in trained.references:
            return None
        tracker = ProgressTracker(trained.references, instruction, trained.tracker)

        def see(views: Any) -> Any:
            query = tracker.query(views)
            return tracker.progress if query is None else tracker.apply(trained.model.hop(query))

        return see

    return begin

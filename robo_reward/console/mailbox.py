"""What other threads hand to the control loop: the operator's newest input, and the events that are asked for."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from robo_reward.hil.arbitration import HumanInput


class Mailbox:
    """The operator's newest input; empty while nobody has control. How old it may be is the `Arbiter`'s to judge."""

    def __init__(self) -> None:
        self._newest: tuple[HumanInput | None, int] = None, 0
        self.driven = 0
        """The sender's number of the input that was read last."""

    def put(self, human: HumanInput | None, number: int = 0) -> None:
        """Replace the input; from any thread."""
        self._newest = human, number

    def watch(self, info: Mapping[str, Any]) -> None:
        """A person looks at the cameras."""

    def read(self, agent_pos: np.ndarray, estimate: np.ndarray) -> HumanInput | None:
        """The newest input, however old."""
        human, self.driven = self._newest
        return human


class Requests:
    """Events that were asked for and wait for the loop, in order; an e-stop overtakes every other one."""

    def __init__(self) -> None:
        self._waiting: queue.PriorityQueue[tuple[bool, int, str, Future[str]]] = queue.PriorityQueue()
        self._posted = itertools.count()
        self._lock = threading.Lock()
        self._refusal: ValueError | None = None

    def post(self, event: str) -> Future[str]:
        """Ask; from any thread. The future gives the loop's answer, or the ValueError that refuses it."""
        reply: Future[str] = Future()
        with self._lock:
            if self._refusal is None:
                self._waiting.put((event != "e_stop", next(self._posted), event, reply))
            else:
                reply.set_exception(self._refusal)
        return reply

    def close(self, refusal: ValueError) -> None:
        """The loop is over: whatever waits, and whatever is asked from now on, is answered with this."""
        with self._lock:
            self._refusal = refusal
        while (waiting := self.wait(0)) is not None:
            waiting[1].set_exception(refusal)

    def wait(self, timeout_s: float) -> tuple[str, Future[str]] | None:
        """The next one and where its answer goes; None when none came in that time."""
        try:
            _, _, event, reply = self._waiting.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None
        return event, reply

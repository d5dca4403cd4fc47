"""Dynamic batching: questions of several clients that wait at the same time are asked together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from robo_reward.progress.annotate import join_queries
from robo_reward.types import HopEstimate, HopQuery


@dataclass(eq=False)
class _Waiting:
    query: HopQuery
    answer: asyncio.Future[HopEstimate]
    since_s: float = field(default_factory=time.monotonic)

    @property
    def layout(self) -> dict[str, tuple[int, ...]]:
        """Cameras and sizes: only questions that share them fit into one batch."""
        return {view: frames.shape[1:] for view, frames in self.query.frames.items()}


class Batcher:
    """One thread that asks the model, and a line in front of it.

    Args:
        hop: the model; only ever called from that thread.
        rows: questions in a batch from which nobody is waited for; a single larger query goes alone.
        wait_s: for which the first in line waits for others.
        saw: told the rows and the seconds of every batch.
    """

    def __init__(
        self, hop: Callable[[HopQuery], HopEstimate], rows: int, wait_s: float, saw: Callable[[int, float], None]
    ) -> None:
        self._hop, self._rows, self._wait_s, self._saw = hop, rows, wait_s, saw
        self._line: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._jobs: SimpleQueue[tuple[HopQuery, asyncio.Future[HopEstimate]]] = SimpleQueue()
        # Not an executor's thread, which a model that hangs would keep from ending with the service.
        threading.Thread(target=self._ask_model, name="reward-model", daemon=True).start()
        self._batch_s, self._began_s = 0.0, 0.0

    @property
    def expected_s(self) -> float:
        """How long the line in front of a new question will take, by the last batch."""
        return self._batch_s * (1 + sum(len(w.query) for w in self._line) / self._rows)

    @property
    def busy_s(self) -> float:
        """How long the model has been at its present batch; 0 between batches."""
        return time.monotonic() - self._began_s if self._began_s else 0.0

    async def ask(self, query: HopQuery) -> HopEstimate:
        """The model's answer. Raises what the model raises for this query, never what another one made it raise."""
        waiting = _Waiting(query, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self._arrived.set()
        try:
            return await waiting.answer
        finally:
            if waiting in self._line:  # the asker has gone
                self._line.remove(waiting)

    async def work(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._line:
                await self._wait_for_others()
                if batch := self._next_batch():
                    await self._answer(batch)

    async def _wait_for_others(self) -> None:
        while self._line and sum(len(w.query) for w in self._line) < self._rows:
            rest = self._line[0].since_s + self._wait_s - time.monotonic()
            if rest <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), rest)
            except asyncio.TimeoutError:
                return

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        for waiting in list(self._line):
            fits = not batch or (
                sum(len(w.query) for w in [*batch, waiting]) <= self._rows and waiting.layout == batch[0].layout
            )
            if fits:
                batch.append(waiting)
                self._line.remove(waiting)
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            estimate = await self._timed(join_queries([w.query for w in batch]))
            row = 0
            for waiting in batch:
                part = slice(row, row := row + len(waiting.query))
                columns = (estimate.hop_B[part], estimate.confidence_B[part], estimate.valid_B[part])
                _settle(waiting.answer, HopEstimate(*columns))
        except Exception as error:  # noqa: BLE001  (a model may raise anything: it is the asker's)
            if len(batch) == 1:
                return _settle(batch[0].answer, error)
            for waiting in batch:  # one of them is at fault
                await self._answer([waiting])

    async def _timed(self, query: HopQuery) -> HopEstimate:
        answer: asyncio.Future[HopEstimate] = asyncio.get_running_loop().create_future()
        self._began_s = time.monotonic()
        self._jobs.put((query, answer))
        try:
            return await answer
        finally:
            self._batch_s, self._began_s = self.busy_s, 0.0
            self._saw(len(query), self._batch_s)

    def _ask_model(self) -> None:
        while True:
            query, answer = self._jobs.get()
            settle: Callable[[], None]
            try:
                settle = partial(_settle, answer, self._hop(query))
            except Exception as error:  # noqa: BLE001  (a model may raise anything: it is the asker's)
                settle = partial(_settle, answer, error)
            with suppress(RuntimeError):  # the service has ended
                answer.get_loop().call_soon_threadsafe(settle)


def _settle(answer: asyncio.Future[HopEstimate], found: HopEstimate | Exception) -> None:
    if answer.done():
        return  # nobody waits any more
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)

"""An actor's end of the link: a thread that sends what the spool holds and brings the newest weights.

The control loop never waits for it within an episode. Between two episodes `wait_turn` holds it back: as long as the
learner has too many of its rollouts to learn from, until newer weights that there are have come, and for good when the
learner has been silent for too long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from robo_reward import __version__
from robo_reward.config import RuntimeConfig
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.link import Client, Lost, Unknown
from robo_reward.runtime.messages import PART_BYTES, Ask, Join, Part, Receipt, Records, Welcome, records_crc
from robo_reward.runtime.published import unpack_weights
from robo_reward.runtime.spool import Spool

R = TypeVar("R")
CALL_S = 2.0
"""Deadline of a call [s]: a line that is dead without saying so is noticed by it."""
_IDLE_S, _RETRY_S = 0.05, 0.2


def ask(
    client: Client, method: str, message: Any, reply: type[R], patience_s: float, waiting: Callable[[str], None]
) -> R:
    """The answer of a learner that may not be there yet, or not just now.

    Args:
        waiting: told once why there is none.

    Raises:
        ValueError: it refuses, or did not answer for `patience_s`.
    """
    begun, told = time.monotonic(), False
    while True:
        try:
            return client.call(method, message, reply, CALL_S)
        except Lost as error:
            if time.monotonic() - begun > patience_s:
                raise ValueError(_silence(client.address, patience_s, 0, str(error))) from None
            if not told:
                waiting(str(error))
            told = True
        time.sleep(_RETRY_S)


class Uplink:
    """Sends and fetches until closed.

    Args:
        client: joined already as `session`, with this `welcome`.
        agent: what weights are checked against; it is not changed.
        tell: an event and its fields, for the actor's log.
    """

    def __init__(
        self, client: Client, welcome: Welcome, session: str, spool: Spool, agent: ResidualTD3,
        settings: RuntimeConfig, actor: int, tell: Callable[..., None],
    ) -> None:  # fmt: skip
        self._client, self._run_id, self._session, self._spool = client, welcome.run, session, spool
        self._agent, self._settings, self._actor, self._tell = agent, settings, actor, tell
        self._changed = threading.Condition()
        self._receipt: Receipt | None = None
        self._fresh: Mapping[str, torch.Tensor] | None = None
        self._version = self._refused = -1
        """Of the newest weights that were accepted, and that were not."""
        self._error: ValueError | OSError | None = None
        self._lost_since: float | None = None
        self._closed = threading.Event()
        self._joined = True
        self.sent_bytes = 0
        """Of records, on the wire."""
        spool.acknowledge(welcome.next)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_turn(self, say: Callable[[str], None]) -> bool:
        """Wait until another rollout may begin; False when the run is over.

        Raises:
            ValueError: the learner refuses this actor, or was silent for longer than `runtime.patience_s`.
            OSError: the spool's disk is full or failing.
        """
        told = False
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                if not self._thread.is_alive():
                    raise RuntimeError("the thread of the link has died")
                if self._receipt is not None and self._receipt.done:
                    return False
                silent_s = 0.0 if self._lost_since is None else time.monotonic() - self._lost_since
                if self._receipt is not None and self._may_begin(self._receipt):
                    return True
                if silent_s > self._settings.patience_s:
                    words = _silence(self._client.address, self._settings.patience_s, self._spool.records, "")
                    raise ValueError(words)
                if silent_s > 5 and not told:
                    say(f"the learner at {self._client.address} does not answer: waiting between two rollouts")
                    told = True
                self._changed.wait(0.5)

    def _may_begin(self, receipt: Receipt) -> bool:
        if self._spool.finished + receipt.waiting >= self._settings.ahead:
            return False
        known = max(self._version, self._refused if self._version >= 0 else -1)
        if known < receipt.policy and (self._lost_since is None or known < 0):
            return False  # newer weights are on their way
        return receipt.policy - self._version <= self._settings.staleness

    def weights(self) -> tuple[int, Mapping[str, torch.Tensor]] | None:
        """Version and tensors of weights that came since the last call."""
        with self._changed:
            fresh, self._fresh = self._fresh, None
            return None if fresh is None else (self._version, fresh)

    @property
    def version(self) -> int:
        """Of the newest weights that were accepted, -1 before the first."""
        return self._version

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                if not self._joined:
                    welcome = self._client.call("Join", Join(__version__, self._actor, self._session), Welcome, CALL_S)
                    if welcome.run != self._run_id:
                        raise ValueError(f"another run listens at {self._client.address} now: start the actor again")
                    self._spool.acknowledge(welcome.next)
                    self._joined = True
                self._exchange()
            except Unknown:
                self._joined = False
            except Lost as error:
                if self._lost_since is None:
                    self._tell("lost", words=str(error))
                    self._lost_since = time.monotonic()
                self._closed.wait(_RETRY_S)
            except (ValueError, OSError) as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return

    def _exchange(self) -> None:
        """Send a batch, take the receipt, fetch the weights that it speaks of."""
        batch = self._spool.batch(PART_BYTES)
        if batch:
            self._spool.sync()
        kinds, payloads = tuple(kind for _, kind, _ in batch), tuple(payload for _, _, payload in batch)
        first = batch[0][0] if batch else self._spool.next
        records = Records(self._actor, self._session, first, kinds, payloads, records_crc(kinds, payloads))
        receipt = self._client.call("Send", records, Receipt, CALL_S)
        self.sent_bytes += sum(map(len, payloads))
        with self._changed:
            if self._lost_since is not None:
                self._tell("found", silent_s=round(time.monotonic() - self._lost_since, 3))
            self._lost_since, self._receipt = None, receipt
            self._spool.acknowledge(receipt.next)
            self._changed.notify_all()
        if receipt.policy > max(self._version, self._refused):
            self._fetch(receipt.policy)
        elif not self._spool.records:
            self._closed.wait(_IDLE_S)

    def _fetch(self, wanted: int) -> None:
        part = self._client.call("Get", Ask(self._actor, self._session, "", 0), Part, CALL_S)
        try:
            if part.version < wanted:
                raise ValueError(f"weights {part.version} came where {wanted} were promised")
            weights = unpack_weights(part, self._agent)
        except ValueError as error:
            self._tell("refused", version=wanted, words=str(error))
            with self._changed:
                self._refused = wanted
                self._changed.notify_all()
            return
        with self._changed:
            self._fresh, self._version = weights, part.version
            self._changed.notify_all()

    def close(self) -> None:
        """Stop sending; what is left stays in the spool."""
        self._closed.set()
        self._thread.join(CALL_S + 1)
        self._client.close()


def _silence(address: str, patience_s: float, records: int, words: str) -> str:
    kept = f"; {records} records wait in the spool, start the actor again when it is back" if records else ""
    reason = f" ({words})" if words else ""
    return f"the learner at {address} has not answered for {patience_s:g} s{reason}: is it running?{kept}"

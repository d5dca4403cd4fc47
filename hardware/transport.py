"""Topics between processes: one small interface, whichever middleware carries the bytes.

A transport knows topics only. What arrives is checked, stamped with the local monotonic clock and kept until the next
message comes. Services, actions and frames are no part of it.
"""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from robo_reward.hardware.cdr import decode, encode
from robo_reward.hardware.messages import Message

M = TypeVar("M", bound=Message)
Clock = Callable[[], float]
"""Seconds that never go back: `time.monotonic`, or a test's own."""
Send = Callable[[bytearray], None]


@dataclass(frozen=True)
class Qos:
    """Quality of service in ROS 2's words, as far as this project needs it."""

    reliable: bool = True
    """Lost messages are sent again. A reliable subscriber does not hear a publisher that is not."""
    latched: bool = False
    """The last messages are kept for subscribers that come later (transient local)."""
    depth: int = 1
    """Messages kept on either side, at least 1."""
    deadline_s: float | None = None
    """What a publisher promises: a message at least this often [s]. Subscribers never request it, because ordinary
    publishers promise nothing and would not match."""


SENSOR = Qos(reliable=False, depth=5)
COMMAND = Qos()
LATCHED = Qos(latched=True)


@dataclass(frozen=True)
class Received(Generic[M]):
    """A message, when it arrived [s, local monotonic clock] and the how manyth of its topic it is, from 1."""

    message: M
    time_s: float
    number: int


@dataclass(frozen=True)
class TopicStats:
    """Counts of one topic since this transport opened it."""

    sent: int = 0
    received: int = 0
    malformed: int = 0
    peers: int = 0
    """Publishers and subscribers of other transports that are connected now."""


class Inbox(Generic[M]):
    """The newest message of one topic. Filled from the transport's thread, read from any."""

    def __init__(self, topic: str, kind: type[M], clock: Clock, heard: Callable[[M], None] | None) -> None:
        self.topic, self.kind, self.malformed, self._heard = topic, kind, 0, heard
        self._clock, self._latest, self._arrived = clock, cast("Received[M] | None", None), threading.Condition()

    def deliver(self, data: bytes) -> None:
        """Take in the bytes of a message; what cannot be read is counted and dropped."""
        now = self._clock()
        try:
            message = decode(self.kind, data)
        except ValueError:
            self.malformed += 1
            return
        with self._arrived:
            number = self._latest.number + 1 if self._latest else 1
            self._latest = Received(message, now, number)
            self._arrived.notify_all()
        if self._heard is not None:
            self._heard(message)

    def latest(self) -> Received[M] | None:
        """The newest message, or None when none came yet."""
        return self._latest

    def wait(self, after: int = 0, timeout_s: float = 1.0) -> Received[M] | None:
        """The newest message once it is later than number `after`, or None when the time is up."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._latest is not None and self._latest.number > after, timeout_s)
            return self._latest if self._latest and self._latest.number > after else None


class Transport(ABC):
    """A node on the wire. Implementations add how bytes travel; the rest is the same for all and stands here."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._inboxes: dict[str, Inbox[Message]] = {}
        self._sent: dict[str, tuple[type[Message], int]] = {}
        self._lock, self._closed = threading.RLock(), False  # who hears may answer

    def advertise(self, topic: str, kind: type[M], qos: Qos = COMMAND) -> Callable[[M], None]:
        """Open a topic for writing.

        Returns:
            A function that sends one message; callable from any thread. It raises ValueError when the message is of
            another type or does not fit it, RuntimeError after `close`.
        """
        topic = self._checked(topic, kind)
        if topic in self._sent:
            raise ValueError(f"topic /{topic} is already advertised by this node: one writer per topic")
        send = self._open_writer(topic, kind, qos)
        self._sent[topic] = (kind, 0)

        def publish(message: M) -> None:
            if type(message) is not kind:
                raise ValueError(f"topic /{topic} carries {kind.ros}, not {type(message).__name__}")
            data = encode(message)
            with self._lock:
                if self._closed:
                    raise RuntimeError(f"topic /{topic}: the transport is closed")
                send(data)
                self._sent[topic] = (kind, self._sent[topic][1] + 1)

        return publish

    def subscribe(
        self, topic: str, kind: type[M], qos: Qos = SENSOR, heard: Callable[[M], None] | None = None
    ) -> Inbox[M]:
        """Open a topic for reading.

        Args:
            topic: opened once for each node.
            kind: what it carries.
            qos: what is requested of publishers.
            heard: called with every message, for topics of which none may be missed. In the transport's thread: it
                must return at once.
        """
        topic = self._checked(topic, kind)
        if topic in self._inboxes:
            raise ValueError(f"topic /{topic} is already subscribed to by this node")
        inbox = Inbox(topic, kind, self._clock, heard)
        self._inboxes[topic] = cast("Inbox[Message]", inbox)
        self._open_reader(topic, kind, qos, inbox.deliver)
        return inbox

    def stats(self) -> dict[str, TopicStats]:
        """Counts by topic, in alphabetical order."""
        found = {}
        for topic in sorted({*self._sent, *self._inboxes}):
            inbox = self._inboxes.get(topic)
            latest = inbox.latest() if inbox else None
            sent = self._sent[topic][1] if topic in self._sent else 0
            peers = 0 if self._closed else self._peers(topic)
            found[topic] = TopicStats(
                sent, latest.number if latest else 0, inbox.malformed if inbox else 0, peers
            )  # fmt: skip
        return found

    def close(self) -> None:
        """Leave the wire. What was received can still be read. Does nothing the second time."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._close()

    def _checked(self, topic: str, kind: type[Message]) -> str:
        """The topic without its leading slash, or ValueError."""
        if self._closed:
            raise RuntimeError(f"topic {topic}: the transport is closed")
        if not re.fullmatch(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", topic):
            raise ValueError(
                f"topic {topic!r}: write names of letters, digits and _ with / between, such as arm/joint_states"
            )
        topic = topic.lstrip("/")
        open_as = self._inboxes[topic].kind if topic in self._inboxes else self._sent.get(topic, (kind,))[0]
        if open_as is not kind:
            raise ValueError(f"topic /{topic} is open as {open_as.ros}, not {kind.ros}")
        return topic

    @abstractmethod
    def _open_writer(self, topic: str, kind: type[Message], qos: Qos) -> Send: ...

    @abstractmethod
    def _open_reader(self, topic: str, kind: type[Message], qos: Qos, deliver: Callable[[bytes], None]) -> None: ...

    @abstractmethod
    def _peers(self, topic: str) -> int: ...

    @abstractmethod
    def _close(self) -> None: ...

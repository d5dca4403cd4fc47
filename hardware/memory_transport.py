"""Topics inside one process, for tests and for robots that need no wire: same rules, any clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from robo_reward.hardware.messages import Message
from robo_reward.hardware.transport import Clock, Qos, Send, Transport


@dataclass(eq=False)
class _Writer:
    node: Transport
    kind: type[Message]
    qos: Qos
    kept: deque[bytes]


@dataclass(eq=False)
class _Reader:
    node: Transport
    kind: type[Message]
    qos: Qos
    deliver: Callable[[bytes], None]

    def hears(self, writer: _Writer) -> bool:
        """DDS's rule: same type, and the publisher offers at least what the subscriber requests."""
        offered, wanted = writer.qos, self.qos
        return writer.kind is self.kind and offered.reliable >= wanted.reliable and offered.latched >= wanted.latched


@dataclass(eq=False)
class MemoryNetwork:
    """What `MemoryTransport`s of one network share."""

    writers: dict[str, list[_Writer]] = field(default_factory=dict)
    readers: dict[str, list[_Reader]] = field(default_factory=dict)


class MemoryTransport(Transport):
    """A node of a `MemoryNetwork`. A message is delivered before `publish` returns."""

    def __init__(self, network: MemoryNetwork | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._network = network or MemoryNetwork()

    def _open_writer(self, topic: str, kind: type[Message], qos: Qos) -> Send:
        writer = _Writer(self, kind, qos, deque(maxlen=qos.depth if qos.latched else 0))
        self._network.writers.setdefault(topic, []).append(writer)

        def send(data: bytearray) -> None:
            frozen = bytes(data)
            writer.kept.append(frozen)
            for reader in self._network.readers.get(topic, []):
                if reader.hears(writer):
                    reader.deliver(frozen)

        return send

    def _open_reader(self, topic: str, kind: type[Message], qos: Qos, deliver: Callable[[bytes], None]) -> None:
        reader = _Reader(self, kind, qos, deliver)
        self._network.readers.setdefault(topic, []).append(reader)
        for writer in self._network.writers.get(topic, []):
            for data in writer.kept if qos.latched and reader.hears(writer) else ():
                deliver(data)

    def _peers(self, topic: str) -> int:
        readers, writers = self._network.readers.get(topic, []), self._network.writers.get(topic, [])
        pairs = [(reader.node, writer.node) for reader in readers for writer in writers if reader.hears(writer)]
        return sum((a is self) != (b is self) for a, b in pairs)

    def _close(self) -> None:
        for writers in self._network.writers.values():
            writers[:] = [writer for writer in writers if writer.node is not self]
        for readers in self._network.readers.values():
            readers[:] = [reader for reader in readers if reader.node is not self]

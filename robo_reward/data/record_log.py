"""An append-only log of checksummed records in segment files; the transition store and annotation tracks live in it.

A record is a header (magic, CRC-32, sizes, sequence number), the name of the actor it came from, and bytes. Records
that were appended together form a batch, which is read as a whole or not at all: after a power loss the end of a batch
may be on the disk and its middle not. Nothing is ever overwritten: opening for writing starts a new segment, so a torn
batch stays where it is and readers pass over it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from robo_reward.data.disk import DISK, AppendFile, Disk

FORMAT = 1
_FILE = struct.Struct("<8sII")
"""magic, format, format with every bit turned: one flipped bit must not look like a newer format"""
_FILE_MAGIC = b"rr-log\r\n"
_MAGIC = b"\xf5\x52\xc3\x9e"
_HEADER = struct.Struct("<4sIIQHH")
"""magic, CRC-32 of all that follows it, payload bytes, sequence, bytes of the actor's name, kind and place in batch"""
_FIRST, _LAST = 0x8000, 0x4000
MAX_PAYLOAD = 64 << 20
_SEGMENT = re.compile(r"(\d{6})\.log")


@dataclass(frozen=True)
class Record:
    """One entry: what it is, who sent it, its number among that sender's, its content."""

    kind: int
    actor: str
    sequence: int
    payload: bytes


@dataclass(frozen=True, order=True)
class Position:
    """A place in the log: segment number and byte offset inside it."""

    segment: int
    offset: int


@dataclass(frozen=True)
class Damage:
    """Bytes of a segment that hold no valid record; `open_end` when they are the segment's last (a torn tail)."""

    start: Position
    end: Position
    open_end: bool


def _encode(record: Record, place: int) -> bytes:
    """The record's bytes. ValueError for a payload above 64 MiB or a name above 255 bytes."""
    actor = record.actor.encode()
    if len(record.payload) > MAX_PAYLOAD:
        raise ValueError(f"a record of {len(record.payload)} bytes exceeds the {MAX_PAYLOAD} that the log allows")
    if not 0 < len(actor) <= 255:
        raise ValueError(f"actor name {record.actor!r} must have 1 to 255 bytes")
    body = _HEADER.pack(_MAGIC, 0, len(record.payload), record.sequence, len(actor), record.kind | place)[8:]
    body += actor + record.payload
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


class RecordLog:
    """The writing end: one process, one log. Once it is open, all that lies in the folder is durable.

    Args:
        folder: where the segments are; must exist.
        segment_bytes: a segment that has grown beyond this is followed by a new one.
    """

    def __init__(self, folder: Path, disk: Disk = DISK, segment_bytes: int = 64 << 20) -> None:
        self.folder, self.disk, self.segment_bytes = folder, disk, segment_bytes
        numbers = segments(folder)
        # A process that died between writing and syncing left a batch that is read here and may not be on the disk.
        for number in numbers:
            disk.sync_file(folder / f"{number:06d}.log")
        disk.sync_folder(folder)
        self._number = numbers[-1] if numbers else 0
        self._file: AppendFile | None = None
        self._offset = 0

    def append(self, records: Sequence[Record]) -> list[tuple[Position, Position]]:
        """Write a batch and sync; when it returns they survive a power loss. Returns where each record starts and ends.

        Raises:
            OSError: nothing of it may be taken for written; the next call starts a new segment.
        """
        end = len(records) - 1
        encoded = [_encode(r, _FIRST * (i == 0) | _LAST * (i == end)) for i, r in enumerate(records)]
        try:
            if self._file is None or self._offset > self.segment_bytes:
                self._next_segment()
            assert self._file is not None
            places, offset = [], self._offset
            for data in encoded:
                places.append((Position(self._number, offset), Position(self._number, offset + len(data))))
                offset += len(data)
            self._file.write(b"".join(encoded))
            self._file.sync()
        except OSError:
            # After a failed sync the kernel may have dropped the pages: this file is not to be trusted any further.
            self.close()
            raise
        self._offset = offset
        return places

    def _next_segment(self) -> None:
        self.close()
        self._number += 1  # also after a failure: the name may be taken
        file = self.disk.append(self.folder / f"{self._number:06d}.log")
        self._file, self._offset = file, _FILE.size
        file.write(_FILE.pack(_FILE_MAGIC, FORMAT, FORMAT ^ 0xFFFFFFFF))
        self.disk.sync_folder(self.folder)

    def close(self) -> None:
        """Let the segment go; harmless when repeated."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def segments(folder: Path) -> list[int]:
    """Numbers of the folder's segments, increasing."""
    return sorted(int(found[1]) for path in folder.iterdir() if (found := _SEGMENT.fullmatch(path.name)))


Found = tuple[Position, Position, Record]
"""Where a record starts and ends, and the record."""


def read_batches(folder: Path, start: Position | None = None) -> Iterator[list[Found] | Damage]:
    """Whole batches, and stretches that hold none, in order of writing.

    Args:
        start: a position where a batch or a damage ended, to go on from there.

    Raises:
        ValueError: a segment of a newer format.
    """
    batch: list[Found] = []
    for here, there, record, place in _scan(folder, start, None):
        if isinstance(record, Damage):
            yield Damage(batch[0][0] if batch else here, there, record.open_end)
            batch = []
            continue
        if place & _FIRST:
            if batch:  # cut off between two records
                yield Damage(batch[0][0], batch[-1][1], open_end=True)
            batch = [(here, there, record)]
        elif batch:
            batch.append((here, there, record))
        # else: what is left of a batch whose beginning was lost
        if place & _LAST and batch:
            yield batch
            batch = []
    if batch:
        yield Damage(batch[0][0], batch[-1][1], open_end=True)


def read_records(folder: Path, start: Position, end: Position) -> Iterator[Record]:
    """The valid records between two positions, whichever batch they belong to."""
    for _, _, record, _ in _scan(folder, start, end):
        if isinstance(record, Record):
            yield record


def _scan(
    folder: Path, start: Position | None, end: Position | None
) -> Iterator[tuple[Position, Position, Record | Damage, int]]:
    """Records with their place in their batch, and stretches that hold none."""
    for number in segments(folder):
        if (start and number < start.segment) or (end and number > end.segment):
            continue
        first = start.offset if start and start.segment == number else 0
        last = end.offset if end and end.segment == number else None
        with open(folder / f"{number:06d}.log", "rb") as file:
            file.seek(first)
            data = memoryview(file.read() if last is None else file.read(last - first))
        offset = _check_file_header(folder, number, data) if first == 0 else 0
        while offset < len(data):
            here, found = Position(number, first + offset), _record_at(data, offset)
            if found is not None:
                record, place, offset = found
                yield here, Position(number, first + offset), record, place
            else:
                offset = _resync(data, offset + 1)
                there = Position(number, first + offset)
                yield here, there, Damage(here, there, open_end=offset == len(data)), 0


def _check_file_header(folder: Path, number: int, data: memoryview) -> int:
    """Offset of the first record; a damaged file header only costs itself."""
    if len(data) >= _FILE.size:
        magic, version, turned = _FILE.unpack_from(data)
        if magic == _FILE_MAGIC and version > FORMAT and version == turned ^ 0xFFFFFFFF:
            raise ValueError(
                f"{folder / f'{number:06d}.log'} has format {version}, this robo_reward reads up to {FORMAT}: "
                "install a newer robo_reward"
            )
    return min(_FILE.size, len(data))


def _record_at(data: memoryview, offset: int) -> tuple[Record, int, int] | None:
    """The valid record at the offset, its place in its batch and where it ends, or None."""
    if len(data) - offset < _HEADER.size or data[offset : offset + 4] != _MAGIC:
        return None
    _, checksum, size, sequence, actor_size, kind = _HEADER.unpack_from(data, offset)
    actor_at = offset + _HEADER.size
    end = actor_at + actor_size + size
    if size > MAX_PAYLOAD or end > len(data) or not intact(data[offset + 8 : end], checksum):
        return None
    actor = bytes(data[actor_at : actor_at + actor_size]).decode()
    place = kind & (_FIRST | _LAST)
    return Record(kind ^ place, actor, sequence, bytes(data[actor_at + actor_size : end])), place, end


def intact(body: memoryview, checksum: int) -> bool:
    """Whether these are the bytes that were written: CRC-32 notices every change of up to 32 bits in a row."""
    return zlib.crc32(body) == checksum


def _resync(data: memoryview, offset: int) -> int:
    """Offset of the next valid record, or the end."""
    raw = bytes(data[offset:])
    at = raw.find(_MAGIC)
    while at >= 0:
        if _record_at(data, offset + at) is not None:
            return offset + at
        at = raw.find(_MAGIC, at + 1)
    return len(data)

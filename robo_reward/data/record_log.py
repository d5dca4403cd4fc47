"""An append-only log of checksummed records in segment files; the transition store and annotation tracks live in it.

A record is a header (magic, CRC-32, sizes, sequence number), the name of the actor it came from, and bytes. Nothing is
ever overwritten: opening for writing starts a new segment, so a torn tail stays where it is and is passed over by
readers, and a damaged record costs itself, not what follows it.
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
"""magic, CRC-32 of all that follows it, payload bytes, sequence, bytes of the actor's name, kind"""
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


def encode(record: Record) -> bytes:
    """The record's bytes. ValueError for a payload above 64 MiB or a name above 255 bytes."""
    actor = record.actor.encode()
    if len(record.payload) > MAX_PAYLOAD:
        raise ValueError(f"a record of {len(record.payload)} bytes exceeds the {MAX_PAYLOAD} that the log allows")
    if not 0 < len(actor) <= 255:
        raise ValueError(f"actor name {record.actor!r} must have 1 to 255 bytes")
    body = _HEADER.pack(_MAGIC, 0, len(record.payload), record.sequence, len(actor), record.kind)[8:]
    body += actor + record.payload
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


class RecordLog:
    """The writing end: one process, one log.

    Args:
        folder: where the segments are; must exist.
        segment_bytes: a segment that has grown beyond this is followed by a new one.
    """

    def __init__(self, folder: Path, disk: Disk = DISK, segment_bytes: int = 64 << 20) -> None:
        self.folder, self.disk, self.segment_bytes = folder, disk, segment_bytes
        numbers = segments(folder)
        self._number = numbers[-1] if numbers else 0
        self._file: AppendFile | None = None
        self._offset = 0

    def append(self, records: Sequence[Record]) -> list[tuple[Position, Position]]:
        """Write the records and sync; when it returns they survive a power loss. Returns where each starts and ends.

        Raises:
            OSError: nothing of it may be taken for written; the next call starts a new segment.
        """
        encoded = [encode(record) for record in records]
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


def read_records(
    folder: Path, start: Position | None = None, end: Position | None = None
) -> Iterator[tuple[Position, Position, Record | Damage]]:
    """Records, and stretches that hold none, in order of writing, each with its start and end position.

    Args:
        start: a position returned earlier, to go on from there.
        end: leave out what begins at or after this position.

    Raises:
        ValueError: a segment of a newer format.
    """
    for number in segments(folder):
        if (start and number < start.segment) or (end and number > end.segment):
            continue
        data = memoryview((folder / f"{number:06d}.log").read_bytes())
        offset = start.offset if start and start.segment == number else _check_file_header(folder, number, data)
        stop = min(end.offset, len(data)) if end and end.segment == number else len(data)
        while offset < stop:
            found = _record_at(data, offset)
            here = Position(number, offset)
            if found is not None:
                record, offset = found
                yield here, Position(number, offset), record
            else:
                offset = _resync(data, offset + 1)
                there = Position(number, offset)
                yield here, there, Damage(here, there, open_end=offset == len(data))


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


def _record_at(data: memoryview, offset: int) -> tuple[Record, int] | None:
    """The valid record at the offset and where it ends, or None."""
    if len(data) - offset < _HEADER.size or data[offset : offset + 4] != _MAGIC:
        return None
    _, checksum, size, sequence, actor_size, kind = _HEADER.unpack_from(data, offset)
    actor_at = offset + _HEADER.size
    end = actor_at + actor_size + size
    if size > MAX_PAYLOAD or end > len(data) or zlib.crc32(data[offset + 8 : end]) != checksum:
        return None
    actor = bytes(data[actor_at : actor_at + actor_size]).decode()
    return Record(kind, actor, sequence, bytes(data[actor_at + actor_size : end])), end


def _resync(data: memoryview, offset: int) -> int:
    """Offset of the next valid record, or the end."""
    raw = bytes(data[offset:])
    at = raw.find(_MAGIC)
    while at >= 0:
        if _record_at(data, offset + at) is not None:
            return offset + at
        at = raw.find(_MAGIC, at + 1)
    return len(data)

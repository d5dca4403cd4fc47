"""An actor's own disk between its world and the learner: what is not acknowledged yet outlives the actor.

A transition is complete once the action after it is known, and is written before that action is carried out: killed at
any moment an actor loses one transition at most. Beside every transition lies the record that would end the episode
there, so that a replacement can close what its forerunner left open. Writing costs the control loop a system call;
`sync`, called from another thread, makes it safe from a power loss too.
"""

from __future__ import annotations

import fcntl
import struct
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

from robo_reward.data.disk import AppendFile, Disk
from robo_reward.data.episode_records import BEGIN, END, decode_header, encode_episode
from robo_reward.data.record_log import Record, RecordLog, read_batches, segments
from robo_reward.evaluation.rollout import EpisodeRecorder

TAIL = 0x100
"""What END would be, were the episode cut here; never sent."""
_SEGMENT_BYTES = 4 << 20
_NAME = "actor"
_STEP = struct.Struct("<I")
Pending = tuple[int, int, bytes]
"""Sequence number, kind and payload of a record."""


class _LaterFile(AppendFile):
    """Synced when its owner says so, not at every batch."""

    def sync(self) -> None:
        pass

    def sync_now(self) -> None:
        super().sync()


class _LaterDisk(Disk):
    def __init__(self) -> None:
        self.newest: _LaterFile | None = None
        self._path: Path | None = None
        self.full: deque[Path] = deque()
        """Files that were gone on from and are not synced."""

    def append(self, path: Path) -> AppendFile:
        if self._path is not None:
            self.full.append(self._path)
        self.newest, self._path = _LaterFile(super().append(path)._handle), path
        return self.newest

    def sync_all(self) -> None:
        """Sync the files in their order: of one without its end no later record is of use."""
        while self.full:
            try:
                self.sync_file(self.full[0])
            except FileNotFoundError:
                pass  # all of it was acknowledged, and it is gone
            self.full.popleft()
        if (file := self.newest) is not None:
            file.sync_now()


class Spool:
    """One actor's records that the learner has not acknowledged; any thread may call.

    Args:
        folder: made if need be; of one actor of one run.

    Raises:
        ValueError: another process uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._place = open(folder / ".lock", "w")
        try:
            fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._place.close()
            raise ValueError(
                f"another actor works in {folder}: stop it, or give this one another number with runtime.actor="
            ) from None
        self.folder, self._disk, self._lock = folder, _LaterDisk(), threading.Lock()
        self._pending: deque[Pending] = deque()
        self._ends: dict[int, int] = {}
        """Segment -> its last sequence number."""
        self._steps = 0
        """Of the running episode that are written."""
        self.next = 0
        """Sequence number of the next record."""
        self.newest_seed: int | None = None
        """Of the newest episode that was begun."""
        self._tail = self._recover()
        """What ends the running episode where it is."""
        self._log = RecordLog(folder, self._disk, _SEGMENT_BYTES)
        if self._tail is not None:
            self._write([(END, self._tail)], None)

    def _recover(self) -> bytes | None:
        """Take in what a forerunner wrote; returns the end of the episode that it left open, if it did."""
        tail = None
        for batch in read_batches(self.folder):
            for _, end, record in batch if isinstance(batch, list) else ():
                if record.kind == TAIL:
                    tail = record.payload
                else:
                    tail = None
                    self._keep(record.sequence, record.kind, record.payload, end.segment)
        return tail

    def _keep(self, sequence: int, kind: int, payload: bytes, segment: int) -> None:
        self._pending.append((sequence, kind, payload))
        self.next, self._ends[segment] = sequence + 1, sequence
        if kind == BEGIN:
            self.newest_seed = decode_header(payload).seed

    def follow(self, recorder: EpisodeRecorder) -> None:
        """Write the transition that has become complete, and the end of an episode; for `run_episode`."""
        if len(recorder) == self._steps and not recorder.ended:
            return
        if len(recorder) == self._steps:  # cut where its last step was not to be believed
            assert self._tail is not None
            self._write([(END, self._tail)], None)
            return
        first, part = self._steps, recorder.episode(self._steps)
        if first:  # the frames of its first observation came with the step before
            new = part.frame_steps > 0
            frames = {view: images[new] for view, images in part.frames.items()}
            part = replace(part, frame_steps=part.frame_steps[new], frames=frames)
        begin, *body, (_, end) = encode_episode(part if recorder.ended else replace(part, truncated=True))
        records = [(kind, _moved(payload, first)) for kind, payload in body]
        records, end = [begin] * (first == 0) + records, _moved(end, first)
        if recorder.ended:
            self._write([*records, (END, end)], None)
        else:
            self._write(records, end)
            self._steps += len(part)

    def _write(self, records: list[tuple[int, bytes]], tail: bytes | None) -> None:
        with self._lock:
            whole = [*records, (TAIL, tail)] if tail is not None else records
            batch = [Record(kind, _NAME, self.next + n, payload) for n, (kind, payload) in enumerate(whole)]
            places = self._log.append(batch)
            for record, (_, end) in zip(batch[: len(records)], places, strict=False):
                self._keep(record.sequence, record.kind, record.payload, end.segment)
            self._tail = tail
            if tail is None:
                self._steps = 0

    def sync(self) -> None:
        """Return when everything written before is safe from a power loss."""
        self._disk.sync_all()

    def batch(self, size: int) -> list[Pending]:
        """The oldest records that are not acknowledged: `size` bytes of them, or one."""
        found: list[Pending] = []
        with self._lock:
            for record in self._pending:
                size -= len(record[2])
                if found and size < 0:
                    break
                found.append(record)
        return found

    def acknowledge(self, following: int) -> None:
        """Forget the records before this sequence number: the learner has them, also those that this disk lost."""
        with self._lock:
            while self._pending and self._pending[0][0] < following:
                self._pending.popleft()
            self.next = max(self.next, following)
            for number in segments(self.folder)[:-1]:
                if self._ends.get(number, -1) < following:
                    self._disk.remove(self.folder / f"{number:06d}.log")
                    self._ends.pop(number, None)

    @property
    def finished(self) -> int:
        """Whole episodes that are not acknowledged."""
        with self._lock:
            return sum(kind == END for _, kind, _ in self._pending)

    @property
    def records(self) -> int:
        """Records that are not acknowledged."""
        return len(self._pending)

    def close(self) -> None:
        """Let the files go; what is not acknowledged stays on the disk."""
        self._log.close()
        self._place.close()


def _moved(payload: bytes, first: int) -> bytes:
    """A STEP, FRAMES or END payload, all of which begin with a number of steps, with `first` added to it."""
    return _STEP.pack(_STEP.unpack_from(payload)[0] + first) + payload[_STEP.size :]

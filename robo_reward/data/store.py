"""The transition store: everything an arm experienced, on disk before anybody relies on it.

An actor sends records under its name with consecutive sequence numbers; the store checks them, appends them, syncs, and
only then acknowledges. What was sent twice is dropped. One process writes; any number read meanwhile. An episode is
handed out once its END is there; one that lost a record to damage is never handed out in part.

The engine is a log of checksummed records (`record_log`), chosen over SQLite by measurement: scripts/bench_store.py.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from robo_reward.data.disk import DISK, Disk, replace_file
from robo_reward.data.episode_records import (
    BEGIN,
    END,
    FRAMES,
    STEP,
    Ending,
    EpisodeHeader,
    decode_ending,
    decode_episode,
    decode_header,
    decode_step,
    encode_episode,
    split_frames,
)
from robo_reward.data.record_log import Damage, Position, Record, RecordLog, read_batches, read_records
from robo_reward.types import Episode

FORMAT = 1
_ABOUT, _LOCK = "store.json", "writer.lock"
_REPAIRED, _DAMAGED = ".repaired", ".damaged"


@dataclass(frozen=True)
class StoredEpisode:
    """A complete episode's entry in the index."""

    episode_id: str
    actor: str
    header: EpisodeHeader
    ending: Ending
    first_sequence: int
    last_sequence: int
    start: Position
    end: Position


@dataclass
class _Open:
    """An episode that has begun and not ended."""

    header: EpisodeHeader
    first_sequence: int
    start: Position
    steps: int = 0


@dataclass
class _Actor:
    """What is known of one sender."""

    acknowledged: int = -1
    open: _Open | None = None


@dataclass
class Index:
    """What a scan of the log has found."""

    episodes: dict[str, StoredEpisode] = field(default_factory=dict)
    actors: dict[str, _Actor] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Ids of episodes that lost a record."""
    abandoned: list[str] = field(default_factory=list)
    """Ids of episodes whose actor began another one before it ended this."""
    records: int = 0

    def add(self, record: Record, start: Position, end: Position) -> None:
        """Follow one valid record of the log."""
        actor = self.actors.setdefault(record.actor, _Actor())
        if record.sequence <= actor.acknowledged:
            return  # sent twice: the first one counts
        if record.sequence > actor.acknowledged + 1 and actor.open is not None:
            self.broken.append(actor.open.header.episode_id)  # records are missing in between
            actor.open = None
        actor.acknowledged = record.sequence
        self.records += 1
        if record.kind == BEGIN:
            if actor.open is not None:
                self.abandoned.append(actor.open.header.episode_id)
            actor.open = _Open(decode_header(record.payload), record.sequence, start)
        elif actor.open is None:
            return  # the rest of an episode that lost its beginning
        elif record.kind == STEP:
            actor.open.steps += 1
        elif record.kind == END:
            opened, actor.open = actor.open, None
            ending = decode_ending(opened.header, record.payload)
            name = opened.header.episode_id
            self.episodes[name] = StoredEpisode(
                name, record.actor, opened.header, ending, opened.first_sequence, record.sequence, opened.start, end
            )


class TransitionStore:
    """A store's folder.

    Args:
        folder: made if it is not there and `writable`.
        writable: take the one place of the writer; otherwise only read.
        disk: where durable writes go.
        segment_bytes: size at which the log goes on in another file.

    Raises:
        FileNotFoundError: there is no store to read.
        ValueError: another process writes it, it is of a newer format, or the folder holds something else.
    """

    def __init__(
        self, folder: Path, *, writable: bool = False, disk: Disk = DISK, segment_bytes: int = 64 << 20
    ) -> None:
        self.folder, self.disk = folder, disk
        self._lock: IO[str] | None = None
        self._log: RecordLog | None = None
        _finish_repair(folder, disk)
        if writable:
            self._lock = _take_lock(folder, disk)
        try:
            _check_about(folder, disk, writable)
            self.index, self._read_to = Index(), Position(0, 0)
            self.refresh()
            if writable:
                self._log = RecordLog(folder, disk, segment_bytes)
        except BaseException:
            self.close()
            raise

    def append(self, actor: str, records: Sequence[tuple[int, int, bytes]]) -> int:
        """Check, write and sync (sequence, kind, payload) records of one actor; returns the last sequence number
        that is safe: the actor may forget everything up to it.

        Raises:
            ValueError: a record is not what its kind must be, or the numbers leave a gap; none of them was written.
            OSError: the disk refused; nothing of it is acknowledged, send it again.
        """
        if self._log is None:
            raise ValueError(f"the store in {self.folder} was opened for reading")
        known = self.index.actors.get(actor, _Actor())
        fresh = [Record(kind, actor, sequence, payload) for sequence, kind, payload in records
                 if sequence > known.acknowledged]  # fmt: skip
        _check(actor, known, fresh, self.index.episodes)
        if fresh:
            for record, (start, end) in zip(fresh, self._log.append(fresh), strict=True):
                self.index.add(record, start, end)
                self._read_to = end
        return self.index.actors.get(actor, _Actor()).acknowledged

    def append_episode(self, actor: str, first_sequence: int, episode: Episode) -> int:
        """Append a whole episode with one sync; returns the sequence number after its last record.

        The same numbers with the same episode a second time change nothing.
        """
        records = [(first_sequence + i, kind, payload) for i, (kind, payload) in enumerate(encode_episode(episode))]
        self.append(actor, records)
        return first_sequence + len(records)

    def episodes(self) -> list[StoredEpisode]:
        """The complete episodes in the order in which they ended."""
        return list(self.index.episodes.values())

    def read(self, episode_id: str, *, frames: bool = True) -> Episode:
        """One episode; without its pictures where nobody needs them.

        Raises:
            KeyError: no such complete episode.
            ValueError: its records were damaged after the store was opened.
        """
        entry = self.index.episodes[episode_id]
        kinds: dict[int, list[bytes]] = {STEP: [], FRAMES: [], END: []}
        for record in self.records(entry):
            if record.kind != BEGIN and (frames or record.kind != FRAMES):
                kinds[record.kind].append(record.payload)
        return decode_episode(entry.header, kinds[STEP], kinds[FRAMES], kinds[END][0])

    def records(self, entry: StoredEpisode) -> list[Record]:
        """All records of an episode, as they were sent. ValueError when one was damaged after the store was opened."""
        found: list[Record] = []
        for record in read_records(self.folder, entry.start, entry.end):
            expected = entry.first_sequence + len(found)
            # The same record may be there twice: once in a batch that was not acknowledged.
            if record.actor == entry.actor and record.sequence == expected <= entry.last_sequence:
                found.append(record)
        if len(found) != entry.last_sequence - entry.first_sequence + 1:
            raise ValueError(
                f"episode {entry.episode_id} in {self.folder} is damaged: robo-reward doctor store={self.folder}"
            )
        return found

    def read_all(self, *, frames: bool = True) -> Iterator[Episode]:
        """Every complete episode, in the order in which they ended."""
        for entry in self.episodes():
            yield self.read(entry.episode_id, frames=frames)

    def refresh(self) -> int:
        """Take in what a writer has added; returns the number of new complete episodes."""
        before = len(self.index.episodes)
        for found in read_batches(self.folder, self._read_to):
            if isinstance(found, list):
                for start, self._read_to, record in found:
                    self.index.add(record, start, self._read_to)
            elif not found.open_end:
                self.index.damages.append(found)
                self._read_to = found.end
            # An open end may be a batch that is being written: it is looked at again next time.
        return len(self.index.episodes) - before

    def close(self) -> None:
        """Let log and lock go; harmless when repeated."""
        if self._log is not None:
            self._log.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> TransitionStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(name: str, known: _Actor, records: Sequence[Record], taken: Container[str]) -> None:
    """Raise ValueError for the first record that is out of order or not what its kind must be."""
    header = known.open.header if known.open else None
    steps, expected = (known.open.steps if known.open else 0), known.acknowledged + 1
    for record in records:
        where = f"actor {name}, record {record.sequence}"
        # An actor that cannot send again what is missing may go on with a new episode.
        if record.sequence != expected and (record.kind != BEGIN or record is not records[0]):
            raise ValueError(f"{where}: expected record {expected}; send what is missing, or begin a new episode")
        expected = record.sequence + 1
        try:
            if record.kind == BEGIN:
                header, steps = decode_header(record.payload), 0
                if header.episode_id in taken:
                    raise ValueError(f"episode {header.episode_id!r} is already in the store: give it another id")
            elif header is None:
                raise ValueError("no episode has begun")
            elif record.kind == STEP:
                if decode_step(header, record.payload) != steps:
                    raise ValueError(f"expected step {steps}")
                steps += 1
            elif record.kind == FRAMES:
                if split_frames(record.payload)[0] != steps:
                    raise ValueError(f"expected the frames of observation {steps}")
            elif record.kind == END:
                if decode_ending(header, record.payload).steps != steps:
                    raise ValueError(f"the episode ends after {steps} steps, the record says otherwise")
                header = None
            else:
                raise ValueError(f"kind {record.kind} is none of BEGIN 1, STEP 2, FRAMES 3, END 4")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def _take_lock(folder: Path, disk: Disk) -> IO[str]:
    """The writer's place; it goes with the process that holds it."""
    disk.make_folder(folder)
    lock = open(folder / _LOCK, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(f"another process writes the store in {folder}: stop it, or use another run folder") from None
    return lock


def _check_about(folder: Path, disk: Disk, writable: bool) -> None:
    """The folder is a store of a known format; an empty one becomes one."""
    path = folder / _ABOUT
    if not path.is_file():
        if not writable:
            raise FileNotFoundError(f"no transition store in {folder}")
        ours = (_LOCK, f".{_ABOUT}.")  # the second is what a process left that was killed while it wrote this
        others = [item.name for item in folder.iterdir() if not item.name.startswith(ours)]
        if others:
            raise ValueError(f"{folder} holds {others[0]} and no transition store: choose an empty folder")
        replace_file(path, json.dumps({"format": FORMAT}).encode(), disk)
    if writable:
        disk.sync_folder(folder.parent)  # also where the process that made the folder was killed before it could
    try:
        version = json.loads(path.read_bytes())["format"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f'{path} is damaged: write {{"format": {FORMAT}}} into it') from None
    if version != FORMAT:
        raise ValueError(
            f"the store in {folder} has format {version}, this robo_reward knows {FORMAT}: install a newer robo_reward"
        )


def is_store(folder: Path) -> bool:
    """Whether a transition store lies in this folder."""
    return (folder / _ABOUT).is_file()


def find_store(path: str | Path) -> Path:
    """The store at this path, or in the folder `store` inside it; ends a repair that was interrupted.

    Raises FileNotFoundError when there is none.
    """
    for folder in (Path(path), Path(path) / "store"):
        _finish_repair(folder, DISK)
        if is_store(folder):
            return folder
    raise FileNotFoundError(f"no transition store in {path}: a run's is in the folder of its training stage")


def verify(folder: Path) -> Index:
    """The index of a fresh scan of everything, torn tails among the damages; reads every byte, writes nothing.

    Raises as `TransitionStore` does.
    """
    _check_about(folder, DISK, writable=False)
    index = Index()
    for found in read_batches(folder):
        if isinstance(found, Damage):
            index.damages.append(found)
        else:
            for start, end, record in found:
                index.add(record, start, end)
    return index


def repair(folder: Path) -> Path | None:
    """Copy every complete episode of a damaged store into a new one that takes its place; nothing is deleted.

    Returns where the damaged store was set aside, or None when it has no damage.
    """
    _finish_repair(folder, DISK)
    if not verify(folder).damages:
        return None
    fresh = folder.with_name(folder.name + _REPAIRED)
    shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted repair left
    with TransitionStore(folder, writable=True) as damaged, TransitionStore(fresh, writable=True) as good:
        for entry in damaged.episodes():
            good.append(
                entry.actor, [(record.sequence, record.kind, record.payload) for record in damaged.records(entry)]
            )
        number = 0
        while (aside := folder.with_name(f"{folder.name}{_DAMAGED}{number}")).exists():
            number += 1
        DISK.rename(folder, aside)
        DISK.rename(fresh, folder)
        DISK.sync_folder(folder.parent)
    return aside


def _finish_repair(folder: Path, disk: Disk) -> None:
    """Put the repaired store in place if the power went after the damaged one was set aside."""
    if folder.exists():
        return
    fresh, names = folder.with_name(folder.name + _REPAIRED), folder.name + _DAMAGED
    if fresh.exists() and any(path.name.startswith(names) for path in folder.parent.iterdir()):
        disk.rename(fresh, folder)
        disk.sync_folder(folder.parent)

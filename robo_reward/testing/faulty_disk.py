"""A disk that fails, fills up or loses its power when a test says so, over real files in a folder.

What it promises is what a file system promises, and no more: bytes survive once their file was synced, names once
their folder was. Everything else survives as the drawn luck has it, in any combination and any order.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from robo_reward.data.disk import AppendFile, Disk

SECTOR = 512
"""Bytes that a drive writes as a whole."""


class PowerLost(BaseException):
    """The machine is off. No `except Exception` or `except OSError` sees it, as no code runs on a dead machine."""


@dataclass(eq=False)
class _File:
    data: bytearray
    synced: int = 0
    """Bytes from the start that survive."""
    doubtful: bool = False
    """A sync failed: a later one that succeeds says nothing about the bytes before it."""


@dataclass(eq=False)
class _Folder:
    names: dict[str, _Node] = field(default_factory=dict)
    """As a running program sees them."""
    durable: dict[str, _Node] = field(default_factory=dict)
    pending: list[dict[str, _Node | None]] = field(default_factory=list)
    """Changes of names since the last sync; each survives as a whole or not at all. None takes the name away."""

    def change(self, names: dict[str, _Node | None]) -> None:
        self.pending.append(names)
        _apply(self.names, names)


_Node: TypeAlias = _File | _Folder
_Survivors: TypeAlias = "dict[str, bytes | _Survivors]"


class FaultyDisk(Disk):
    """The files below one folder, which are all durable at the start.

    Operations that write (create, write, sync, rename, sync_folder) are numbered from 1 on. What other code writes
    there, past this object, counts as never synced.

    Arguments:
        folder: made if need be; paths outside it are refused with ValueError.
        fail_at: the number of the operation that raises OSError instead of being done.
        error: its errno, such as ENOSPC or EIO.
        short_write: a write that fails has written half of its bytes.
        lasting: all operations after that one fail too, as on a full disk.
        stop_at: the number of the operation at which the machine goes off: PowerLost, from then on for every call.
            `lose_power` then says what is left.
        ignores_sync: nothing is made durable by syncing. The control: a test that still passes tests nothing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fail_at: int | None = None,
        error: int = errno.ENOSPC,
        short_write: bool = False,
        lasting: bool = False,
        stop_at: int | None = None,
        ignores_sync: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fail_at, self.error, self.short_write, self.lasting = fail_at, error, short_write, lasting
        self.stop_at, self.ignores_sync = stop_at, ignores_sync
        self.operations: list[str] = []
        """What was asked for so far, failed ones included, such as `sync a/b`."""
        self._root = _read_folder(self.folder, durable=True)
        self._off = self._settled = False

    # ---- the disk ----

    def append(self, path: Path) -> AppendFile:
        folder = self._parent_of(path)
        self.begin("create", path)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        file = _File(bytearray())
        folder.change({path.name: file})
        return _FaultyFile(handle, self, file, path)

    def rename(self, source: Path, target: Path) -> None:
        folder = self._parent_of(source)
        if folder is not self._parent_of(target):
            raise ValueError(f"{source} -> {target}: renaming across folders is not modelled; stay in one folder")
        self.begin("rename", source)
        os.replace(source, target)
        if source.name != target.name:
            folder.change({source.name: None, target.name: folder.names[source.name]})

    def sync_file(self, path: Path) -> None:
        file = self._parent_of(path).names.get(path.name)
        if not isinstance(file, _File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self.sync(file, path)

    def sync_folder(self, folder: Path) -> None:
        node = self._folder_at(folder)
        self.begin("sync_folder", folder)
        if not self.ignores_sync:
            node.durable, node.pending = dict(node.names), []

    def make_folder(self, folder: Path) -> None:
        relative = self._relative(folder)
        for path in [self.folder / part for part in (*reversed(relative.parents), relative)][1:]:
            if not path.is_dir():
                parent = self._parent_of(path)
                self.begin("create", path)
                path.mkdir()
                parent.change({path.name: _Folder()})

    def remove(self, path: Path) -> None:
        folder = self._parent_of(path)
        self._refuse_when_off()
        path.unlink(missing_ok=True)
        if path.name in folder.names:
            folder.change({path.name: None})

    # ---- the faults ----

    def begin(self, kind: str, path: Path) -> None:
        """Count one operation; raise what is due at it."""
        self._refuse_when_off()
        self.operations.append(f"{kind} {self._relative(path)}")
        number = len(self.operations)
        if number == self.stop_at:
            self._off = True
            raise PowerLost(f"the power went at operation {number}, {self.operations[-1]}")
        if self.fail_at is not None and (number == self.fail_at or (self.lasting and number > self.fail_at)):
            raise OSError(self.error, os.strerror(self.error), str(path))

    def sync(self, file: _File, path: Path) -> None:
        """Make a file's bytes durable, unless a sync of it has failed before."""
        try:
            self.begin("sync", path)
        except OSError:
            file.doubtful = True
            raise
        if not self.ignores_sync and not file.doubtful:
            file.synced = len(file.data)

    def lose_power(self, rng: np.random.Generator) -> None:
        """Bring the folder to a state that a power loss at this moment could leave; this object is then spent.

        Args:
            rng: draws what of the unsynced bytes and names survived.

        Raises:
            RuntimeError: the second time.
        """
        if self._settled:
            raise RuntimeError("this disk has lost its power already: make a new FaultyDisk of the folder")
        self._off = self._settled = True
        left = _survivors(self._root, rng)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        _write_folder(self.folder, left)

    # ---- the model ----

    def _refuse_when_off(self) -> None:
        if self._off:
            raise PowerLost("the power is off: make a new FaultyDisk of the folder")

    def _relative(self, path: Path) -> Path:
        try:
            return path.absolute().relative_to(self.folder)
        except ValueError:
            raise ValueError(f"{path} lies outside this disk's folder {self.folder}") from None

    def _parent_of(self, path: Path) -> _Folder:
        return self._folder_at(path.parent)

    def _folder_at(self, path: Path) -> _Folder:
        """The folder as it really is now, with what others have changed in it noticed."""
        node, where = self._root, self.folder
        _notice(node, where)
        for part in self._relative(path).parts:
            where = where / part
            inner = node.names.get(part)
            if not isinstance(inner, _Folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(where))
            node = inner
            _notice(node, where)
        return node


class _FaultyFile(AppendFile):
    def __init__(self, handle: int, disk: FaultyDisk, file: _File, path: Path) -> None:
        super().__init__(handle)
        self._disk, self._file, self._path = disk, file, path

    def write(self, data: bytes) -> None:
        try:
            self._disk.begin("write", self._path)
        except OSError:
            if self._disk.short_write:
                self._put(data[: len(data) // 2])
            raise
        self._put(data)

    def sync(self) -> None:
        self._disk.sync(self._file, self._path)

    def _put(self, data: bytes) -> None:
        super().write(data)
        self._file.data += data


def _read_folder(path: Path, durable: bool) -> _Folder:
    folder = _Folder()
    for child in path.iterdir():
        folder.change({child.name: _read(child, durable)})
    if durable:
        folder.durable, folder.pending = dict(folder.names), []
    return folder


def _read(path: Path, durable: bool) -> _Node:
    if path.is_dir():
        return _read_folder(path, durable)
    data = bytearray(path.read_bytes())
    return _File(data, len(data) if durable else 0)


def _notice(folder: _Folder, path: Path) -> None:
    """Take in what other code has created or removed in the folder, as changes that nobody synced."""
    real = {child.name for child in path.iterdir()}
    for name in folder.names.keys() - real:
        folder.change({name: None})
    for name in real - folder.names.keys():
        folder.change({name: _read(path / name, durable=False)})


def _apply(names: dict[str, _Node], change: dict[str, _Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _survivors(folder: _Folder, rng: np.random.Generator) -> _Survivors:
    names = dict(folder.durable)
    luck = rng.choice([0.0, 0.5, 1.0])  # none and all are as likely as a mixture, however many changes are pending
    for change in folder.pending:
        if rng.random() < luck:
            _apply(names, change)
    return {n: _torn(node, rng) if isinstance(node, _File) else _survivors(node, rng) for n, node in names.items()}


def _torn(file: _File, rng: np.random.Generator) -> bytes:
    """The file's synced bytes and what of the others reached the drive."""
    synced, written = file.synced, len(file.data)
    fate = rng.choice(["nothing", "everything", "beginning", "sectors"])
    if synced == written or fate == "everything":
        return bytes(file.data)
    if fate == "nothing":
        return bytes(file.data[:synced])
    grown = fate == "sectors" and rng.random() < 0.5  # the file's length reached the drive before its bytes did
    data = file.data[: written if grown else int(rng.integers(synced, written + 1))]
    if fate == "beginning":
        return bytes(data)
    for start in range(synced - synced % SECTOR, len(data), SECTOR):
        first, end = max(start, synced), min(start + SECTOR, len(data))
        lost = rng.integers(3)
        if lost == 1:
            data[first:end] = bytes(end - first)
        elif lost == 2:
            data[first:end] = rng.bytes(end - first)
    return bytes(data)


def _write_folder(path: Path, left: _Survivors) -> None:
    for name, content in left.items():
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
        else:
            (path / name).mkdir()
            _write_folder(path / name, content)

"""The writes that must survive a crash, behind one small object, so that a test can drop, tear or fail any of them.

Whoever promises durability (transition store, annotation tracks, checkpoints, run folders) writes through a `Disk`.
"""

from __future__ import annotations

import os
from pathlib import Path


class AppendFile:
    """A file that only grows. What was written is durable once `sync` has returned, not before."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: bytes) -> None:
        """Append all of `data`; OSError (disk full, I/O error) may leave a part of it in the file."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]

    def sync(self) -> None:
        """Return when everything written so far is on the disk. After an OSError nothing may be taken for durable."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Release the file; syncs nothing."""
        os.close(self._handle)


class Disk:
    """The machine's own file system."""

    def append(self, path: Path) -> AppendFile:
        """A new file, open for appending. Its name is durable after `sync_folder`. FileExistsError when it exists."""
        return AppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))

    def write(self, path: Path, data: bytes) -> None:
        """A new file with this content, synced; its name is durable after `sync_folder`."""
        file = self.append(path)
        try:
            file.write(data)
            file.sync()
        finally:
            file.close()

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder another name, replacing a file of that name; durable after `sync_folder`."""
        os.replace(source, target)

    def sync_file(self, path: Path) -> None:
        """Make what a file holds durable, whichever process wrote it; its name is durable after `sync_folder`."""
        _sync(path)

    def sync_folder(self, folder: Path) -> None:
        """Make the names inside the folder durable."""
        _sync(folder)

    def make_folder(self, folder: Path) -> None:
        """Create the folder if it is not there; its name is durable after `sync_folder` of its parent."""
        folder.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        """Take the file away if it is there."""
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


DISK = Disk()


def replace_file(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Replace the file by `data`, all or nothing, also when the power goes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    disk.remove(aside)  # what a killed process of the same number left
    try:
        disk.write(aside, data)
        disk.rename(aside, path)
    except BaseException:
        try:
            disk.remove(aside)
        except OSError:
            pass  # the first error is the one to report
        raise
    disk.sync_folder(path.parent)

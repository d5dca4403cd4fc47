"""Checkpoints by attribute: exact, whole or not there, and never written over.

    checkpoint = Checkpoint(folder, identity={"settings": digest})
    checkpoint.agent, checkpoint.counters, checkpoint.rng = agent, counters, rng
    if not checkpoint.load():
        ...  # a fresh start
    checkpoint.save()

Each checkpoint is a folder `step-<number>` with one safetensors file for every attribute that has tensors, state.json
for the others, and manifest.json with the sha256 of those files. It is built under `<name>.partial`, synced, and
renamed when whole: a folder without that suffix is complete or damaged, never half-written. Older ones go only when
enough newer ones have been read back and verified. One process at a time may save into a folder. Every format keeps the
manifest's outer form and its `files`, so that an older version can tell a newer checkpoint from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robo_reward.data.disk import DISK, Disk
from robo_reward.runtime.checkpoint_values import encode, kind_of, restore
from robo_reward.terminal import say

FORMAT = 1
MANIFEST, PARTIAL = "manifest.json", ".partial"
_NAME = re.compile(r"step-(\d+)")


class Checkpoint:
    """What is assigned to it as attributes is what it saves and restores.

    An attribute is an object with `state_dict()` (a flat dict of tensors) and `load_state_dict()`, a numpy Generator,
    a dataclass of JSON values that is not frozen, or a JSON value. Objects, generators, dataclasses, lists and dicts
    are restored in place; a number, text, flag or None is read back from the attribute.

    Arguments:
        folder: where the checkpoints lie, made at the first save.
        identity: JSON values that say which experiment this is; another experiment's checkpoints are refused.
        keep: how many verified checkpoints to keep, at least 2.
        disk: what to write through.
        quiet: say nothing about damaged checkpoints.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        identity: Mapping[str, Any] | None = None,
        keep: int = 2,
        disk: Disk = DISK,
        quiet: bool = False,
    ) -> None:
        if keep < 2:
            raise ValueError(f"checkpoint: keep={keep}, must be 2 or more: a damaged one needs another to go back to")
        self._folder, self._keep, self._disk, self._quiet = Path(folder), keep, disk, quiet
        self._identity = json.loads(json.dumps(dict(identity or {})))
        self._contents: dict[str, Any] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if hasattr(Checkpoint, name):
            raise ValueError(f"checkpoint.{name} is a method: choose another name")
        kind_of(name, value)
        self._contents[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._contents:
            raise AttributeError(f"nothing was assigned to checkpoint.{name}")
        return self._contents[name]

    def save(self) -> Path:
        """Write everything as a new checkpoint and return its folder; when this returns, it is durable.

        Raises:
            FloatingPointError: a tensor or number is not finite. Nothing was written.
            ValueError: an attribute's state is not of the kinds named above. Nothing was written.
            OSError: the disk is full or failing. `load` still finds the last checkpoint, or this one if it is whole.
        """
        files = encode(self._contents)
        manifest = {
            "format": FORMAT,
            "identity": self._identity,
            "attributes": {name: kind_of(name, value) for name, value in self._contents.items()},
            "files": {name: _sha256(data) for name, data in files.items()},
        }
        _make_folder(self._folder, self._disk)
        for unfinished in self._folder.glob(f"step-*{PARTIAL}"):
            shutil.rmtree(unfinished)
        number = max((_number(path) for path in _finished(self._folder)), default=0) + 1
        final = self._folder / f"step-{number:06d}"
        partial = final.with_name(final.name + PARTIAL)
        try:
            self._disk.make_folder(partial)
            for name, data in files.items():
                self._disk.write(partial / name, data)
            self._disk.write(partial / MANIFEST, _envelope(manifest))
            self._disk.sync_folder(partial)
            self._disk.rename(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
            raise
        self._disk.sync_folder(self._folder)
        self._remove_old()
        return final

    def load(self) -> bool:
        """Restore the newest checkpoint that verifies; False when there is none at all.

        Damaged ones are passed over with one line each; nothing on the disk is changed.

        Raises:
            ValueError: all are damaged; the one found is of a newer format or another experiment, or holds other
                attributes: nothing was restored. Or an object refused its tensors: do not go on with that object.
        """
        found = _finished(self._folder)
        for path in found:
            try:
                manifest = _read_manifest(path)
                self._refuse_foreign(path, manifest)
                files = _read_files(path, manifest)
            except _Damaged as error:
                say(f"{path} is damaged ({error}): passed over", self._quiet)
                continue
            restore(self._contents, files, path)
            return True
        if found:
            raise ValueError(
                f"{self._folder}: all {len(found)} checkpoints are damaged; put one back from a copy, "
                "or move this folder away to start anew"
            )
        return False

    def _refuse_foreign(self, path: Path, manifest: Mapping[str, Any]) -> None:
        if manifest["format"] > FORMAT:
            raise ValueError(
                f"{path} has format {manifest['format']}, this version reads up to {FORMAT}: update robo_reward"
            )
        theirs, ours = manifest["identity"], self._identity
        for key in [*ours, *theirs]:
            if ours.get(key) != theirs.get(key):
                raise ValueError(
                    f"{path} is a checkpoint of another experiment: its {key} is {theirs.get(key)}, not "
                    f"{ours.get(key)}; choose another folder, or restore that setting"
                )
        kinds = {name: kind_of(name, value) for name, value in self._contents.items()}
        if manifest["attributes"] != kinds:
            raise ValueError(
                f"{path} holds {_listed(manifest['attributes'])}, this program expects {_listed(kinds)}: "
                "use the program that saved it, or choose another folder"
            )

    def _remove_old(self) -> None:
        """Remove what is older than the newest `keep` checkpoints that verify; without that many, remove nothing."""
        whole = 0
        for path in _finished(self._folder):
            if whole == self._keep:
                aside = path.with_name(path.name + PARTIAL)
                self._disk.rename(path, aside)
                self._disk.sync_folder(self._folder)  # else a power loss could bring the name back with files missing
                shutil.rmtree(aside)
            else:
                whole += _is_whole(path)


class _Damaged(Exception):
    """Not the checkpoint that was written."""


def _envelope(manifest: Mapping[str, Any]) -> bytes:
    """manifest.json, which carries its own checksum too."""
    return (json.dumps({"manifest": manifest, "sha256": _sha256(_canonical(manifest))}, indent=1) + "\n").encode()


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True).encode()


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "nothing"


# ---- folders ----


def _make_folder(folder: Path, disk: Disk) -> None:
    """Make the folder and its own name durable, also where an earlier attempt made it and was stopped."""
    new = [path for path in folder.parents if not path.exists()]
    disk.make_folder(folder)
    for path in [folder, *new]:
        disk.sync_folder(path.parent)


def _finished(folder: Path) -> list[Path]:
    """Checkpoints that were renamed to their final names, newest first."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in paths if _NAME.fullmatch(path.name)), key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


# ---- reading ----


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / MANIFEST).read_bytes())
        manifest, digest = record["manifest"], record["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"{MANIFEST}: {type(error).__name__}") from error
    if not _matches(_canonical(manifest), digest):
        raise _Damaged(f"{MANIFEST} does not match its checksum")
    return dict(manifest)


def _read_files(path: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The very bytes that were checked: what is decoded is never read a second time."""
    files = {}
    for name, digest in manifest["files"].items():
        try:
            files[name] = (path / name).read_bytes()
        except OSError as error:
            raise _Damaged(f"{name}: {error.strerror}") from error
        if not _matches(files[name], digest):
            raise _Damaged(f"{name} does not match its checksum")
    return files


def _is_whole(path: Path) -> bool:
    try:
        _read_files(path, _read_manifest(path))
    except _Damaged:
        return False
    return True


def _matches(data: bytes, digest: str) -> bool:
    return _sha256(data) == digest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

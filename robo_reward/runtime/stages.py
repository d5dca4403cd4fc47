"""Stages whose outputs are kept by content: the same settings and inputs are computed once, whatever run asks.

A stage's folder is `<root>/<name>-<digest>`, the digest covering its name, code version, settings and its inputs'
digests. It is built under the name `<folder>.partial` and renamed when whole; stage.json inside names every file with
its sha256. So a folder without the suffix is complete or damaged, never half-written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from robo_reward.data.disk import DISK
from robo_reward.runtime.run_folder import RunFolder, make_folder, write_atomic
from robo_reward.terminal import say

MARKER, SPENT, PARTIAL = "stage.json", ".spent_s", ".partial"


@dataclass(frozen=True)
class StageResult:
    """A finished stage."""

    name: str
    path: Path
    digest: str
    """sha256, hex: names settings, code version and everything upstream."""
    summary: Mapping[str, Any]
    """What the stage's build function returned."""
    wall_s: float
    """Time spent on building it [s], interrupted attempts included; also when it was reused."""
    reused: bool


def run_stage(
    root: str | Path,
    name: str,
    key: Mapping[str, Any],
    inputs: Sequence[StageResult],
    build: Callable[[Path], Mapping[str, Any]],
    *,
    version: int = 1,
    resumable: bool = False,
    quiet: bool = False,
) -> StageResult:
    """The stage's finished folder, built only if it is not there yet.

    Args:
        root: folder of all stages, shared by runs and processes.
        name: such as `collect`.
        key: every setting that changes the output; JSON values and dataclasses.
        inputs: the stages whose outputs it reads.
        build: fills the folder it is given and returns a JSON summary.
        version: raise it when the stage's code changes its output.
        resumable: `build` goes on from what an interrupted attempt left; otherwise it starts in an empty folder.
        quiet: print nothing.

    Raises:
        ValueError: the root cannot be written, or the key is not JSON. Whatever `build` raises passes through, and
            its folder stays for the next attempt.
    """
    root = Path(root)
    digest = stage_digest(name, version, key, inputs)
    folder = root / f"{name}-{digest[:12]}"
    if (finished := _verified(folder, name, digest)) is not None:
        say(f"{name}: already there, {folder}", quiet)
        return finished
    make_folder(root, "run.root")
    with _locked(root / f".{folder.name}.lock", lambda: say(f"{name}: waiting for another process", quiet)):
        if (finished := _verified(folder, name, digest)) is not None:  # the other process has built it
            return finished
        if folder.exists():
            _set_aside(folder, quiet)
        working = folder.with_name(folder.name + PARTIAL)
        if working.exists() and not resumable:
            shutil.rmtree(working)
        working.mkdir(exist_ok=True)
        spent = _spent(working)
        say(f"{name}: {'going on' if spent else 'building'} in {working}", quiet)
        started = time.monotonic()
        try:
            summary = dict(build(working))
        except BaseException:  # KeyboardInterrupt too: the time spent so far is part of the result
            (working / SPENT).write_text(str(spent + time.monotonic() - started), encoding="utf-8")
            raise
        wall_s = round(spent + time.monotonic() - started, 3)
        (working / SPENT).unlink(missing_ok=True)
        record = {
            "name": name, "digest": digest, "version": version, "key": _jsonable(key),
            "inputs": [[stage.name, stage.digest] for stage in inputs],
            "summary": summary, "wall_s": wall_s, "files": manifest(working),
        }  # fmt: skip
        write_atomic(working / MARKER, json.dumps(record, indent=1) + "\n")
        os.rename(working, folder)
        DISK.sync_folder(root)
    say(f"{name}: done in {wall_s:.1f} s", quiet)
    return StageResult(name, folder, digest, summary, wall_s, reused=False)


def stage_folder(
    root: str | Path, name: str, key: Mapping[str, Any], inputs: Sequence[StageResult]
) -> tuple[Path, bool]:
    """The folder that `run_stage` would return, and whether it is whole already; until then its name has `PARTIAL`."""
    digest = stage_digest(name, 1, key, inputs)
    folder = Path(root) / f"{name}-{digest[:12]}"
    return folder, _verified(folder, name, digest) is not None


def finished_stage(folder: Path) -> tuple[StageResult, list[StageResult]]:
    """A stage of an earlier run in its folder, and its inputs, which lie beside it.

    Raises:
        ValueError: one of them is missing or damaged.
    """

    def read(path: Path, digest: str | None = None) -> StageResult:
        record = _record(path)
        found = _verified(path, path.name.rsplit("-", 1)[0], digest or record.get("digest", ""))
        if found is None:
            raise ValueError(f"{path} is missing or damaged: run the training that left it again")
        return found

    inputs = _record(folder).get("inputs", [])
    return read(folder), [read(folder.parent / f"{name}-{digest[:12]}", digest) for name, digest in inputs]


def finish_run(run: RunFolder, stages: Sequence[StageResult], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Write the run's summary.json; its wall time [s] counts every stage that it stands on, reused ones too."""
    plain = {
        key: value
        for stage in stages
        for key, value in stage.summary.items()
        if isinstance(value, (int, float, str, type(None)))
    }
    timed = {"wall_s": round(sum(stage.wall_s for stage in stages), 1)} if stages else {}
    return run.finish({**plain, **summary, **timed})


def _record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record


def stage_digest(name: str, version: int, key: Mapping[str, Any], inputs: Sequence[StageResult]) -> str:
    """sha256 (hex) of what determines a stage's output."""
    whole = [name, version, _jsonable(key), [stage.digest for stage in inputs]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def manifest(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 (hex) of every file below the folder, stage.json left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MARKER)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _jsonable(value: Any) -> Any:
    """Dataclasses and tuples as JSON values, refused when json does not know them."""

    def known(element: Any) -> Any:
        if is_dataclass(element) and not isinstance(element, type):
            return asdict(element)
        raise ValueError(f"a stage's key holds a {type(element).__name__}: {element!r}; give JSON values")

    return json.loads(json.dumps(value, default=known))


def _verified(folder: Path, name: str, digest: str) -> StageResult | None:
    """The stage in the folder, or None when a file is missing or changed; files that readers added are harmless."""
    try:
        record = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        whole = record["digest"] == digest and all(file_digest(folder / n) == sha for n, sha in record["files"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None
    return StageResult(name, folder, digest, record["summary"], record["wall_s"], reused=True) if whole else None


def _set_aside(folder: Path, quiet: bool) -> None:
    """Keep a damaged folder under another name: it may hold what its owner wants back."""
    number = 0
    while (aside := folder.with_name(f"{folder.name}.damaged{number}")).exists():
        number += 1
    os.rename(folder, aside)
    say(f"{folder} is damaged: kept as {aside.name} and built again", quiet)


def _spent(working: Path) -> float:
    try:
        return float((working / SPENT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0.0


@contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """One process at a time; the lock goes with the process that held it."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

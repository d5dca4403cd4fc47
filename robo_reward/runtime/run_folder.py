"""One run's folder: config.yaml, metrics.jsonl, TensorBoard events and summary.json.

Small files are replaced as a whole (written aside, synced, renamed), so that a reader or a crash never meets half a
file; metrics.jsonl only grows.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from robo_reward.config import REACHED, Config
from robo_reward.data.disk import replace_file
from robo_reward.terminal import progress, say

__all__ = ["RunFolder", "git_revision", "list_runs", "made_on", "progress", "read_metrics", "write_atomic"]

CONFIG, METRICS, SUMMARY = "config.yaml", "metrics.jsonl", "summary.json"
_ELSEWHERE = ("run", "quiet")
"""Sections that may differ between a run and its resumption."""


def write_atomic(path: Path, text: str) -> None:
    """Replace the file by `text`, all or nothing, also when the power goes."""
    replace_file(path, text.encode())


def make_folder(folder: Path, setting: str) -> None:
    """Create the folder if need be and make sure that it can be written.

    Raises:
        ValueError: naming the setting to change, when it cannot.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write in {folder} ({error.strerror}): choose another folder with {setting}=..."
        ) from None


def plain_number(value: Any) -> Any:
    """A JSON value for a number, flag or text; None for NaN and infinities, which JSON does not have.

    Raises:
        ValueError: for anything nested.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"expected a number, a flag or a text, got {type(value).__name__}")


class RunFolder:
    """Writes one run. Opening the folder of an earlier run with the same settings goes on with it.

    Args:
        dir: the folder, made if need be.
        config: the run's whole configuration.
        command: the `robo-reward` command it belongs to.
        quiet: print nothing.

    Raises:
        ValueError: the folder cannot be written, is in use by another process, or holds a run with other settings.
    """

    def __init__(self, dir: str | Path, config: Config, command: str, quiet: bool = False) -> None:
        self.path = Path(dir)
        self.config, self.command, self.quiet = config, command, quiet
        self._started = time.monotonic()
        make_folder(self.path, "run.root")
        self._lock = _take_folder(self.path)
        settings = json.loads(json.dumps(asdict(config)))
        _refuse_other_settings(self.path / CONFIG, settings)
        write_atomic(self.path / CONFIG, yaml.safe_dump(settings, sort_keys=False))
        _drop_torn_line(self.path / METRICS)
        self._metrics = open(self.path / METRICS, "a", encoding="utf-8")
        self._boards = _boards(self.path, settings, config.run.wandb)

    def log(self, step: int, **numbers: Any) -> None:
        """Append one line of metrics.

        Args:
            step: environment steps or updates so far; may repeat after a resumption, the later line counts.
            numbers: plain numbers; NaN and infinities are written as null.
        """
        row = {name: plain_number(value) for name, value in numbers.items()}
        self._metrics.write(json.dumps({"step": int(step), **row}) + "\n")
        self._metrics.flush()
        for board in self._boards:
            board.add(int(step), {k: float(v) for k, v in row.items() if isinstance(v, (int, float))})

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write summary.json and return it.

        Args:
            summary: flat names to plain numbers or texts. A `wall_s` [s] in it (say, the sum over resumed stages)
                wins over this invocation's own.

        Raises:
            ValueError: an entry is nested.
        """
        flat: dict[str, Any] = {}
        for name, value in summary.items():
            try:
                flat[name] = plain_number(value)
            except ValueError as error:
                raise ValueError(f"summary entry '{name}': {error}") from None
        flat = {
            "wall_s": round(time.monotonic() - self._started, 3),
            **flat,
            "seed": self.config.seed,
            "command_line": command_line(),
            **made_on(),
        }
        write_atomic(self.path / SUMMARY, json.dumps(flat, indent=2) + "\n")
        say(f"run folder: {self.path}", self.quiet)
        return flat

    def close(self) -> None:
        """Flush and close the metric files; harmless when repeated."""
        self._metrics.close()
        self._lock.close()
        while self._boards:
            self._boards.pop().close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take_folder(folder: Path, create: bool = True) -> IO[str]:
    """One process writes a run folder; its place goes with it, however it ends."""
    lock = open(folder / ".lock", "w" if create else "r", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ValueError(
            f"another process is writing {folder}: wait for it, or choose another folder with run.dir=..."
        ) from None
    return lock


def is_live(folder: Path) -> bool:
    """Whether a process is writing this run folder now."""
    try:
        _take_folder(folder, create=False).close()
    except ValueError:
        return True
    except OSError:
        pass
    return False


class _Board:
    """TensorBoard events without torch or TensorFlow."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._writer = Event, Summary, EventFileWriter(str(folder))

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._writer.add_event(self._event(step=step, wall_time=time.time(), summary=self._summary(value=values)))

    def close(self) -> None:
        self._writer.close()


def _boards(folder: Path, settings: Mapping[str, Any], wandb: bool) -> list[Any]:
    """What metrics go to beside metrics.jsonl: TensorBoard where it is installed, W&B where it is asked for."""
    boards: list[Any] = []
    with suppress(ImportError):
        boards.append(_Board(folder / "tensorboard"))
    if wandb:
        from robo_reward.runtime.wandb_sink import WandbSink

        boards.append(WandbSink(folder, settings))
    return boards


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl in order of writing, a torn last line left out.

    Args:
        run: the run folder.
    """
    rows = []
    for line in (Path(run) / METRICS).read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            rows.append(json.loads(line))
    return rows


def list_runs(root: str | Path) -> list[dict[str, Any]]:
    """Every run below the folder, oldest first: its settings (`config`), its `summary` (empty while unfinished)."""
    runs = []
    for path in Path(root).glob(f"**/{CONFIG}"):
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            summary_path = path.with_name(SUMMARY)
            summary = json.loads(summary_path.read_text(encoding="utf-8")) if summary_path.exists() else {}
        except (ValueError, yaml.YAMLError):
            continue  # a file of the same name that is none of ours
        if isinstance(config, dict) and "command" in config and isinstance(summary, dict):
            changed = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")
            date = summary.get("date", changed)
            runs.append({"path": path.parent, "config": config, "summary": summary, "date": date})
    return sorted(runs, key=lambda run: run["date"])


def command_line() -> str:
    """The command as a person would type it, without the folder of the executable."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def made_on() -> dict[str, Any]:
    """What stands beside every result: of which code, when (UTC), on how many cores."""
    return {
        "git_revision": git_revision(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def git_revision() -> str | None:
    """Commit of the checkout this package runs from, `-dirty` when changed; None when it is not a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _refuse_other_settings(path: Path, settings: Mapping[str, Any]) -> None:
    if not path.exists():
        return
    try:
        earlier = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError:
        raise ValueError(f"{path} is damaged: choose another run.dir, or delete that folder") from None
    if not isinstance(earlier, dict):
        return
    old, new = flat_settings(earlier), flat_settings(settings)
    for name in [*new, *old]:
        section, _, setting = name.partition(".")
        if section in _ELSEWHERE or (section == "runtime" and setting in REACHED):
            continue
        if old.get(name) != new.get(name):
            raise ValueError(
                f"{path.parent} holds a run with {name}={old.get(name)}, not {new.get(name)}: "
                "choose another run.dir, or delete that folder"
            )


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Sections within sections as `section.name` -> value."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat.update(flat_settings(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return flat


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that an earlier crash left without its end."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(path, "r+b") as file:
            file.truncate(whole)

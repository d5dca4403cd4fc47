"""What happened in a session, a line an event: for the page, for whoever asks later, and for its figures."""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SHOWN = 40
"""Newest lines that the page shows."""


class SessionLog:
    """A session's log.jsonl: time (UTC), episode, what, and what more there is to say. Any thread may add.

    Lines that a power loss has torn are passed over: nothing but the page's figures hangs on them.

    Arguments:
        path: gone on with when it is there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.newest: deque[dict[str, Any]] = deque(maxlen=SHOWN)
        self.kept: dict[int, dict[str, Any]] = {}
        """Episode -> what was said of it when it was kept: its steps, those that a person drove, where it began."""
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):
                self._append("\n")

    def add(self, episode: int, what: str, **more: Any) -> None:
        """One line.

        Args:
            episode: number of the episode that is under way, or comes next.
            what: happened.
            more: JSON values.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"time": time, "episode": episode, "what": what, **more})
        with self._lock:
            self._append(line + "\n")
            self._take(line)

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            episode, what = int(entry["episode"]), str(entry["what"])
            if what == "kept":
                self.kept[episode] = {name: int(entry[name]) for name in ("steps", "driven", "place")}
            else:
                self.newest.append(entry)
        except (ValueError, KeyError, TypeError):
            return

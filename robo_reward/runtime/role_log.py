"""A role's own log: one JSON line an event, with the run's and the role's name in every line."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

FOLDER, HEALTH = "logs", "roles.json"
"""In the run folder: a log for every role, and what the learner last knew of all of them."""


class RoleLog:
    """Appends to `<folder>/logs/<role>.jsonl`; any thread may call."""

    def __init__(self, folder: Path, role: str, run: str) -> None:
        path = folder / FOLDER / f"{role}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._lock = open(path, "a", encoding="utf-8"), threading.Lock()
        self._about = {"role": role, "run": run}

    def tell(self, event: str, **fields: Any) -> None:
        """One line; `fields` are JSON values."""
        line = {"time": round(time.time(), 3), **self._about, "event": event, **fields}
        with self._lock:
            if not self._file.closed:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file; what is told later is dropped."""
        with self._lock:
            self._file.close()

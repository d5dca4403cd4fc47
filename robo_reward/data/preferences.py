"""Which of two clips a person prefers: one JSON line a word, in a file that only grows, for later training."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

CHOICES = ("first", "second", "equal", "unclear")


@dataclass(frozen=True)
class Clip:
    """A part of a stored episode."""

    episode: str
    begin: int
    """First observation."""
    end: int
    """Last observation, after `begin`."""


@dataclass(frozen=True)
class Preference:
    """A person's word on two clips."""

    first: Clip
    second: Clip
    choice: str
    """Of `CHOICES`."""

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise ValueError(f"preference {self.choice!r}: choose {', '.join(CHOICES)}")
        for clip in (self.first, self.second):
            if not 0 <= clip.begin < clip.end:
                raise ValueError(f"clip {clip.begin} to {clip.end} of {clip.episode}: it has to end after it begins")


def append_preference(path: Path, preference: Preference) -> None:
    """Add a word to the file, made if it is not there; durable on return."""
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("" if whole else "\n")  # what a crash has torn stays a line of its own
        file.write(json.dumps(asdict(preference)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_preferences(path: Path) -> list[Preference]:
    """All words, in order; none without a file. A line that a crash has torn is no JSON and left out.

    Raises:
        ValueError: a line is JSON and no preference.
    """
    if not path.is_file():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            words = json.loads(line)
        except ValueError:
            continue
        try:
            first, second = (Clip(**words[side]) for side in ("first", "second"))
            found.append(Preference(first, second, words["choice"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no preference ({error}): delete the line") from None
    return found

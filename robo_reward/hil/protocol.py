"""How an episode with a person is run and judged: a state machine that survives a restart.

    idle -> armed -> running <-> taken_over, paused -> judging -> resetting -> armed

A label may also be given while the episode runs, which ends it. `e_stop` is possible always and everywhere; only
`clear` leaves it, and a restart does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robo_reward.data.disk import DISK, Disk, replace_file

STATES = ("idle", "armed", "running", "taken_over", "paused", "judging", "resetting", "e_stopped")
VERDICTS = ("success", "failure", "partial")
LABELS = (*VERDICTS, "discard", "re_record")
"""What a person may say of an episode; after re_record the same scene comes again."""
ABORTED = "aborted"
"""The mark of an episode that an e-stop or a restart cut off."""
IN_FLIGHT = ("running", "taken_over", "paused")
"""States in which an episode is under way."""

_MOVES = {
    "arm": {"idle": "armed"},
    "disarm": {"armed": "idle"},
    "start": {"armed": "running"},
    "take_over": {"running": "taken_over"},
    "release": {"taken_over": "running"},
    "pause": {"running": "paused", "taken_over": "paused"},
    "resume": {"paused": "running"},
    "finish": dict.fromkeys(IN_FLIGHT, "judging"),
    "reset_done": {"resetting": "armed"},
    "undo": dict.fromkeys(("idle", "armed", "resetting"), "judging"),
    "e_stop": {state: "e_stopped" for state in STATES if state != "e_stopped"},
    "clear": {"e_stopped": "idle"},  # or where the e-stop found it, see `apply`
    **{label: dict.fromkeys((*IN_FLIGHT, "judging"), "resetting") for label in LABELS},
}
EVENTS = tuple(_MOVES)


class Protocol:
    """The protocol of one session: its state, and one label for every episode that is over.

    Episode n is the n-th that was started. While one is under way or judged, it is episode `len(labels)`.

    Arguments:
        path: JSON file that keeps it; None keeps nothing. An existing one is gone on with: an episode that was under
            way is marked `aborted`, because its world is gone.
        disk: what to write through.

    Raises:
        ValueError: the file is none of this protocol's.
    """

    def __init__(self, path: Path | None = None, disk: Disk = DISK) -> None:
        self._path, self._disk = path, disk
        self.state = "idle"
        self.labels: list[str] = []
        self.unattended: list[int] = []
        """Episodes whose label is no person's."""
        self._after_clear = "idle"
        if path is not None and path.exists():
            self._load(path)

    @property
    def scene(self) -> int:
        """Number of the initial state to run from: it advances with every episode but a re-recorded one."""
        return sum(label != "re_record" for label in self.labels)

    def possible(self) -> tuple[str, ...]:
        """Events that the present state allows."""
        return tuple(event for event in EVENTS if self._allows(event))

    def check(self, event: str) -> None:
        """ValueError, naming the events that are possible, unless this one is."""
        if not self._allows(event):
            raise ValueError(f"{event!r} is not possible while {self.state}: choose {', '.join(self.possible())}")

    def apply(self, event: str, unattended: bool = False) -> str:
        """Go where the event leads and return the new state; durable on return.

        Args:
            unattended: whether it is a label that no person gave.

        Raises:
            ValueError: the event is unknown or not possible now; nothing has changed. OSError when it could not be
                kept: the state has changed all the same, because an e-stop must not wait for a disk.
        """
        self.check(event)
        before = self.state
        self.state = _MOVES[event][before]
        if event in LABELS:
            self.unattended += [len(self.labels)] * unattended
            self.labels.append(event)
        elif event == "undo":
            self.labels.pop()
            self.unattended = [number for number in self.unattended if number < len(self.labels)]
        elif event == "e_stop":
            self._after_clear = {"judging": "judging", "resetting": "resetting"}.get(before, "idle")
            if before in IN_FLIGHT:
                self._abort()
        elif event == "clear":
            self.state = self._after_clear
        if not {before, self.state} <= {"running", "taken_over"}:  # a restart need not tell those two apart
            self._save()
        return self.state

    def relabel(self, episode: int, label: str) -> None:
        """Say something else of an episode that was judged before; durable on return.

        Raises:
            ValueError: the label is unknown, or there is no such episode, or it was never judged; nothing has changed.
        """
        if label not in LABELS[:-1]:
            raise ValueError(f"label {label!r} is none for an episode that is over: choose {', '.join(LABELS[:-1])}")
        if not 0 <= episode < len(self.labels) or self.labels[episode] not in LABELS[:-1]:
            raise ValueError(f"episode {episode} was not judged, or is gone: it keeps what it has")
        self.labels[episode] = label
        self.unattended = [number for number in self.unattended if number != episode]
        self._save()

    def _allows(self, event: str) -> bool:
        if event == "undo" and (not self.labels or self.labels[-1] == ABORTED):
            return False
        return self.state in _MOVES.get(event, {})

    def abandon(self) -> None:
        """The world goes away: an episode under way is marked aborted, and nobody is armed any more."""
        if self.state in IN_FLIGHT:
            self._abort()
        if self.state not in ("judging", "e_stopped"):
            self.state = "idle"  # the next world begins with a reset
        self._save()

    def _abort(self) -> None:
        """The episode under way is over; its scene is in disorder."""
        self.labels.append(ABORTED)
        self._after_clear = "resetting"

    def _save(self) -> None:
        if self._path is not None:
            kept = {
                "format": 1, "state": self.state, "after_clear": self._after_clear, "labels": self.labels,
                "unattended": self.unattended,
            }  # fmt: skip
            replace_file(self._path, (json.dumps(kept) + "\n").encode(), self._disk)

    def _load(self, path: Path) -> None:
        try:
            kept: dict[str, Any] = json.loads(path.read_bytes())
            self.state, self._after_clear, self.labels = kept["state"], kept["after_clear"], list(kept["labels"])
            self.unattended = [int(number) for number in kept.get("unattended", [])]
            known = kept["format"] == 1 and {self.state, self._after_clear} <= {*STATES}
            known = known and {*self.labels} <= {*LABELS, ABORTED}
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise ValueError(f"{path} is no session protocol of this program: move it away to begin a new session")
        self.abandon()

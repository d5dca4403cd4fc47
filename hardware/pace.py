"""A loop at a rate in real time, on a computer that may be too busy for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

BEHIND_S = 0.02
"""How far the loop may fall behind and make up for it."""
WATCH_S = 10.0
"""Over how long the share of lost time is taken."""


class Pace:
    """Waits between the turns of a loop. Time beyond `BEHIND_S` is lost rather than made up for in a burst, and where
    that is more than a tenth, one line on standard error says so, once.

    Args:
        hz: turns a second.
        who: subject of that line.
        clock: the time [s].
        sleep: for so many seconds.
    """

    def __init__(
        self, hz: float, who: str, clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._period, self._who, self._clock, self._sleep = 1 / hz, who, clock, sleep
        self._due = self._since = clock()
        self._lost, self._told = 0.0, False

    def wait(self) -> None:
        """Until the next turn is due."""
        self._due += self._period
        now = self._clock()
        if now - self._due > BEHIND_S:
            self._lost += now - self._due
            self._due = now
        if now - self._since > WATCH_S:
            kept = 1 - self._lost / (now - self._since)
            if kept < 0.9 and not self._told:
                self._told = True
                print(
                    f"{self._who} runs at {kept:.0%} of real time: this computer is too busy, and what is measured on "
                    "it counts for little",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
            self._lost, self._since = 0.0, now
        self._sleep(max(0.0, self._due - now))

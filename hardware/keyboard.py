"""Keys of the terminal, as they are pressed."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Keys = Callable[[float], str]
"""Waits so many seconds at most and returns the keys that were pressed since the last call, in order."""


def newest_key(found: str) -> str:
    """The last of these keys, but the space bar, which stops, before all others; empty for none."""
    return " " if " " in found else found[-1:]


@contextmanager
def keyboard(urgent: str = "") -> Iterator[Keys]:
    """The terminal's keys without waiting for Enter; it is put back as it was. A key in `urgent` ends the waiting.

    Raises:
        ValueError: standard input is no terminal.
    """
    import termios
    import tty

    if not sys.stdin.isatty():
        raise ValueError("this reads the keyboard: run it in a terminal")
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def keys(seconds: float) -> str:
        until, found = time.monotonic() + seconds, ""
        while select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            pressed = os.read(descriptor, 64).decode(errors="ignore")
            found += pressed
            if not pressed or set(pressed) & set(urgent):
                break
        return found

    try:
        yield keys
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

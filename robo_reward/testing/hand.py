"""A person's hand on a device, told by a test what to do, and the clock that both go by."""

from __future__ import annotations

import numpy as np

from robo_reward.hardware.teleop import Reading


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Hand:
    """A device that says what it is told to say."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.closed = clock, False
        self.reading: Reading | None = None

    def say(self, *axes: float, buttons: tuple[int, ...] = (), keys: str = "", silent: bool = False) -> None:
        """From now on these axes and buttons; `silent`: a device of changes that has none to tell."""
        self.reading = Reading(np.array(axes), frozenset(buttons), self._clock(), silent, keys)

    def read(self) -> Reading | None:
        """What it was told last."""
        return self.reading

    def close(self) -> None:
        """Let go."""
        self.closed = True

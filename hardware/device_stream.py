"""What a hand did, as lines of JSON: recorded from any device, played back as one.

The first line is the device's configuration, every other a reading: when it was read, in seconds since the first, axes,
buttons, keys, and how old it was then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.hardware.teleop import Device, Reading, TeleopConfig, check_device
from robo_reward.settings import build

ROUNDING_S = 5e-4
PAUSE_S = 0.1
"""Longest time [s] that passes in a recording between two readings: where nobody reads, as in a reset, it waits."""


class Recorder:
    """A device whose readings are written down as they are read."""

    def __init__(
        self, device: Device, config: TeleopConfig, path: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin a file. ValueError when there is one already."""
        if path.exists():
            raise ValueError(f"{path} is there already: choose another name")
        self._device, self._clock, self._began = device, clock, clock()
        self._file = path.open("w", encoding="utf-8")
        self._write(asdict(config))

    def read(self) -> Reading | None:
        """The device's reading; a silent device leaves no line."""
        reading, now = self._device.read(), self._clock()
        if reading is not None:
            line: dict[str, Any] = {"t": round(now - self._began, 4), "axes": reading.axes.round(5).tolist()}
            line |= {"age": round(now - reading.time_s, 4), "buttons": sorted(reading.buttons)}
            line |= {"silent": reading.silent, "keys": reading.keys}
            self._write({key: value for key, value in line.items() if value or key in ("t", "axes")})
        return reading

    def close(self) -> None:
        """Close the file and the device."""
        self._file.close()
        self._device.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Line:
    """One line of a recording: a reading, whose time is its age, and when it was read [s]."""

    t: float
    reading: Reading


class Played:
    """A recording as a device. Behind its end it is a device that fell silent."""

    def __init__(self, lines: list[Line], clock: Callable[[], float] = time.monotonic) -> None:
        self._lines, self._clock = lines, clock
        self._next, self._passed, self._asked = 0, 0.0, clock()

    def read(self) -> Reading | None:
        """The newest reading that is due, with the keys of all that have become due since the last call."""
        now = self._clock()
        self._passed += min(now - self._asked, PAUSE_S)
        self._asked, keys = now, ""
        while self._next < len(self._lines) and self._lines[self._next].t <= self._passed + ROUNDING_S:
            keys += self._lines[self._next].reading.keys
            self._next += 1
        if self._next == 0:
            return None
        newest = self._lines[self._next - 1]
        age = self._passed - newest.t + newest.reading.time_s
        return replace(newest.reading, time_s=now - age, keys=keys)

    def close(self) -> None:
        """Nothing is open."""


def read_stream(path: Path) -> tuple[TeleopConfig, list[Line]]:
    """A recording's configuration and lines.

    Raises:
        ValueError: no recording, or a line that is none of one; its number is told.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a recording of a device ({error})") from None
    lines: list[Line] = []
    config = TeleopConfig()
    for number, text in enumerate(texts, 1):
        try:
            told = json.loads(text)
            if number == 1:
                config = check_device(build(TeleopConfig, told))
                continue
            axes, buttons = np.array(told["axes"], np.float64), frozenset(map(int, told.get("buttons", ())))
            t, age = float(told["t"]), float(told.get("age", 0.0))
            if axes.ndim != 1 or (lines and t < lines[-1].t):
                raise ValueError("axes must be a list of numbers, and t must not go back")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: line {number} is none of a device's recording ({error})") from None
        silent, keys = bool(told.get("silent", False)), str(told.get("keys", ""))
        lines.append(Line(t, Reading(axes, buttons, age, silent, keys)))
    if not lines:
        raise ValueError(f"{path} holds no readings: record some with `robo-reward robot device`")
    return config, lines

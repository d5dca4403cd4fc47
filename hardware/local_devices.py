"""Devices at this computer: keyboard, gamepad and SpaceMouse, read as Linux hands them out, without a library.

A gamepad is a file of the kernel's joystick interface (Documentation/input/joydev/joystick-api.rst), a SpaceMouse one
of its raw HID reports. Either is opened again when it was unplugged and comes back.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from robo_reward.hardware.teleop import Reading

KEY_AXES = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "j": (3, 1), "u": (3, -1), "i": (4, 1), "k": (4, -1), "q": (5, 1), "e": (5, -1),
}  # fmt: skip
"""Key -> axis and direction."""
KEY_S = 0.25
"""Time after which a key that does not repeat counts as let go [s]: a terminal tells of no release."""

_EVENT = struct.Struct("<IhBB")
_BUTTON, _AXIS, _INITIAL = 1, 2, 0x80
_FULL = 32767

_COUNTS = 350.0
"""A SpaceMouse's full deflection."""
_3DCONNEXION, _LOGITECH = "0000256F", "0000046D"
"""Makers as Linux writes them; the first ones were sold by Logitech."""


class Keyboard:
    """Keys of the terminal as axes: full deflection while a key repeats."""

    def __init__(self, keys: Callable[[float], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._pressed = ("", -np.inf)

    def read(self) -> Reading:
        """The newest key's axis."""
        found, now, axes = self._keys(0.0), self._clock(), np.zeros(6)
        for key in found:
            if key in KEY_AXES:
                self._pressed = key, now
        key, since = self._pressed
        if key and now - since <= KEY_S:
            axis, direction = KEY_AXES[key]
            axes[axis] = direction
        return Reading(axes, frozenset(), now, silent=True, keys=found)

    def close(self) -> None:
        """The terminal is its opener's."""


class _DeviceFile:
    """A device file that is read without waiting, and opened again after it went away."""

    def __init__(self, what: str, find: Callable[[], str]) -> None:
        self._find, self._descriptor, self._closed = find, -1, False
        if (problem := self._open()) is not None:
            raise ValueError(f"no {what}: {problem}; plug it in, or name its file, source: /dev/..., in a teleop file")

    def _open(self) -> str | None:
        """None when it is open, else why not."""
        if self._descriptor >= 0:
            return None
        path = self._find()
        if self._closed or not path:
            return "none is to be found"
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            return f"{path}: {error.strerror}"
        return None

    def packets(self, size: int) -> list[bytes] | None:
        """What came since the last call, a read each; None when the device is gone. The caller starts afresh then."""
        if self._open() is not None:
            return None
        found = []
        try:
            while packet := os.read(self._descriptor, size):
                found.append(packet)
        except BlockingIOError:
            return found
        except OSError:
            pass
        os.close(self._descriptor)
        self._descriptor = -1
        return None

    def close(self) -> None:
        """Close the file for good."""
        self._closed = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Gamepad:
    """A joystick interface: eight bytes an event, first of all the present state. `source`: its file."""

    def __init__(self, source: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._file = _DeviceFile("gamepad", lambda: source or find_gamepad())
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._axes: dict[int, float] = {}
        self._buttons: set[int] = set()
        self._time_s = -np.inf

    def read(self) -> Reading | None:
        """Axes and buttons as the last events left them."""
        packets = self._file.packets(_EVENT.size * 64)
        if packets is None:
            self._forget()
            return None
        for packet in packets:
            self._time_s = self._clock()
            for _, value, kind, number in _EVENT.iter_unpack(packet[: len(packet) // _EVENT.size * _EVENT.size]):
                if kind & ~_INITIAL == _AXIS:
                    self._axes[number] = float(np.clip(value / _FULL, -1.0, 1.0))
                elif kind & ~_INITIAL == _BUTTON:
                    (self._buttons.add if value else self._buttons.discard)(number)
        if not self._axes:
            return None
        axes = np.array([self._axes.get(number, 0.0) for number in range(max(self._axes) + 1)])
        return Reading(axes, frozenset(self._buttons), self._time_s, silent=True)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class SpaceMouse:
    """A 3Dconnexion device's raw reports: 1 translation (on some followed by rotation), 2 rotation, 3 buttons.

    Axes: x forward, y left, z up and rotations about them; the device itself counts right, back, down. `source`: its
    file, /dev/hidrawN.
    """

    def __init__(self, source: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._file = _DeviceFile("SpaceMouse", lambda: source or find_spacemouse())
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._counts, self._buttons, self._time_s = np.zeros(6), frozenset[int](), self._clock()

    def read(self) -> Reading | None:
        """The deflection that the last reports tell of; it repeats them while it is deflected."""
        packets = self._file.packets(64)
        if packets is None:
            self._forget()
            return None
        for packet in packets:
            self._time_s = self._clock()
            kind, body = packet[0], packet[1:]
            if kind in (1, 2) and len(body) >= 6:
                begin, count = (3, 3) if kind == 2 else (0, 6 if len(body) >= 12 else 3)
                self._counts[begin : begin + count] = np.frombuffer(body, "<i2", count)
            elif kind == 3:
                bits = int.from_bytes(body[:4], "little")
                self._buttons = frozenset(number for number in range(32) if bits >> number & 1)
        axes = np.clip(-self._counts[[1, 0, 2, 4, 3, 5]] / _COUNTS, -1.0, 1.0)
        return Reading(axes, self._buttons, self._time_s, silent=True)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


def find_gamepad(folder: Path = Path("/dev/input")) -> str:
    """The file of the first gamepad; empty where there is none."""
    return str(min(folder.glob("js*"), default=""))


def find_spacemouse(folder: Path = Path("/sys/class/hidraw")) -> str:
    """The file of the first SpaceMouse; empty where there is none."""
    for entry in sorted(folder.glob("hidraw*")):
        try:
            lines = (entry / "device" / "uevent").read_text().splitlines()
        except OSError:
            continue
        told = dict(line.split("=", 1) for line in lines if "=" in line)
        _, maker, *_ = (*told.get("HID_ID", "").split(":"), "")
        if maker == _3DCONNEXION or (maker == _LOGITECH and "Space" in told.get("HID_NAME", "")):
            return f"/dev/{entry.name}"
    return ""

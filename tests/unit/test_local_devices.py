"""Devices at this computer: keyboard, gamepad, SpaceMouse, as terminal and kernel hand them out."""

from __future__ import annotations

import os
import struct
import termios
from pathlib import Path

import numpy as np
import pytest

from robo_reward.hardware.keyboard import keyboard
from robo_reward.hardware.local_devices import Gamepad, Keyboard, SpaceMouse, find_spacemouse
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.teleop import Teleop, load_teleop
from robo_reward.testing.hand import Clock

ROBOT, LIMITS = load_robot("sim_arm")
NONE = np.zeros(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(device: Teleop):
    return device.read(NONE, NONE)


def test_keys_deflect_while_they_repeat(clock):
    typed = [""]
    device = Teleop(load_teleop("keyboard"), Keyboard(lambda seconds: typed[0], clock), ROBOT, LIMITS, clock)
    assert not asked(device).held
    typed[0] = "w"
    assert asked(device).action.tolist() == [1.0, 0, 0, 0]
    typed[0] = ""
    clock.now += 0.2
    assert asked(device).held
    clock.now += 0.1
    assert not asked(device).held, "a terminal tells of no release: silence is one"
    typed[0] = "wey"
    assert asked(device).action.tolist() == [0, 0, 0, -1.0] and device.events()[-1] == "success"


def test_the_terminal_gives_keys_without_enter_and_is_put_back(monkeypatch):
    hand, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with keyboard(urgent="x") as keys:
            assert keys(0.0) == ""
            os.write(hand, b"wy")
            assert keys(0.5) == "wy" and keys(0.0) == ""
            os.write(hand, b"ax")
            assert keys(60.0) == "ax", "an urgent key ends the waiting"
            assert not termios.tcgetattr(terminal)[3] & termios.ICANON
        assert termios.tcgetattr(terminal) == before
    os.close(hand)


def fifo(path: Path) -> int:
    """A device file that a test writes to; the descriptor is its plug."""
    os.mkfifo(path)
    return os.open(path, os.O_RDWR)


def test_a_gamepad_is_read_as_the_kernel_hands_it_out(tmp_path, clock):
    plug = fifo(tmp_path / "js0")
    pad = Gamepad(str(tmp_path / "js0"), clock)
    device = Teleop(load_teleop("gamepad"), pad, ROBOT, LIMITS, clock)
    assert not asked(device).held, "no event yet"
    event = struct.Struct("<IhBB")
    state = [event.pack(0, 0, 0x82, axis) for axis in range(6)] + [event.pack(0, 0, 0x81, 5)]
    os.write(plug, b"".join(state) + event.pack(9, -32767, 2, 1) + event.pack(9, 1, 1, 5))
    assert asked(device).action.tolist() == [1.0, 0.0, 0.0, 0.0] and asked(device).held
    os.write(plug, event.pack(10, 0, 1, 5))
    assert not asked(device).held
    os.write(plug, event.pack(10, 1, 1, 5))
    assert asked(device).held
    os.close(plug)
    assert not asked(device).held and pad.read() is None, "pulled out with the button held"
    plug = os.open(tmp_path / "js0", os.O_RDWR)
    assert pad.read() is None, "plugged in again: nothing of before is known"
    os.write(plug, b"".join(state))
    assert pad.read().axes.tolist() == [0.0] * 6 and not asked(device).held
    os.close(plug)
    device.close()


@pytest.mark.parametrize("together", [False, True])
def test_a_spacemouse_is_read_from_its_reports(tmp_path, clock, together):
    plug = fifo(tmp_path / "hidraw0")
    mouse = SpaceMouse(str(tmp_path / "hidraw0"), clock)
    device = Teleop(load_teleop("spacemouse"), mouse, ROBOT, LIMITS, clock)

    def report(kind: int, *values: int) -> None:
        os.write(plug, bytes([kind]) + struct.pack(f"<{len(values)}h", *values))
        mouse.read()

    if together:
        report(1, 0, -350, 175, 0, 0, -350)
    else:
        report(1, 0, -350, 175)
        report(2, 0, 0, -350)
    human = asked(device)  # pushed forwards and down a little, turned
    assert human.held and human.action == pytest.approx([1.0, 0.0, -0.4 / 0.9, 1.0])
    os.write(plug, b"\x03\x03\x00")
    assert device.events() == ["start", "success"]
    clock.now += 0.3
    assert not asked(device).held, "it repeats itself while it is deflected"
    report(1, 0, 0, 0, 0, 0, 0)
    report(2, 0, 0, 0)
    clock.now += 9.0
    assert not asked(device).held and asked(device).time_s == clock.now, "at rest it may be silent"
    os.close(plug)
    assert mouse.read() is None


def test_the_spacemouse_is_found_among_raw_devices(tmp_path):
    for number, (maker, name) in enumerate([("0000046D", "Logitech Mouse"), ("0000256F", "SpaceMouse Compact")]):
        folder = tmp_path / f"hidraw{number}" / "device"
        folder.mkdir(parents=True)
        (folder / "uevent").write_text(f"DRIVER=hid-generic\nHID_ID=0003:{maker}:0000C635\nHID_NAME={name}\n")
    assert find_spacemouse(tmp_path) == "/dev/hidraw1"
    assert find_spacemouse(tmp_path / "none") == ""

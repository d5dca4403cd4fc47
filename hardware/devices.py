"""Opens the device that `teleop=` names, and shows what it says: `robo-reward robot device`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from robo_reward.hardware.bridge import open_transport
from robo_reward.hardware.device_stream import Played, Recorder, read_stream
from robo_reward.hardware.keyboard import Keys, keyboard
from robo_reward.hardware.local_devices import Gamepad, Keyboard, SpaceMouse
from robo_reward.hardware.robot_config import RobotConfig
from robo_reward.hardware.teleop import Device, Reading, TeleopConfig, load_teleop
from robo_reward.hardware.transport import Transport
from robo_reward.hardware.wire_devices import JoyTopic, LeaderArm, TwistTopic

PERIOD_S = 0.05


class WithKeys:
    """A device with the terminal's keys beside it, which are heard also while the device is gone."""

    def __init__(self, device: Device, keys: Keys) -> None:
        self._device, self._keys = device, keys

    def read(self) -> Reading:
        """The device's reading and the keys; without any axes while the device is gone."""
        reading = self._device.read() or Reading(np.zeros(0), frozenset(), -np.inf)
        return replace(reading, keys=reading.keys + self._keys(0.0))

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()


def open_device(
    name: str,
    keys: Keys | None,
    robot: RobotConfig | None = None,
    open_wire: Callable[[RobotConfig], Transport] = open_transport,
) -> tuple[TeleopConfig, Device]:
    """The device of `conf/teleop/{name}.yaml` or of the file `name`, or the recording `name` when it ends in `.jsonl`.

    Args:
        name: which.
        keys: the terminal's, or None without one.
        robot: whose wire the topics are on, for devices on the wire.
        open_wire: opens it.

    Raises:
        ValueError: no such file, a wrong setting, or no such device.
    """
    if name.endswith(".jsonl"):
        config, lines = read_stream(Path(name))
        played = Played(lines)
        return config, WithKeys(played, keys) if keys else played
    config = load_teleop(name)
    if config.device == "keyboard":
        if keys is None:
            raise ValueError(f"teleop={name} reads the keyboard: run this command in a terminal")
        return config, Keyboard(keys)
    device: Device
    if config.device == "gamepad":
        device = Gamepad(config.source)
    elif config.device == "spacemouse":
        device = SpaceMouse(config.source)
    else:
        if robot is None:
            raise ValueError(f"teleop={name} is on a robot's wire: say which, robot=NAME")
        wire = open_wire(robot)
        if config.device == "joy":
            device = JoyTopic(wire, config.source)
        elif config.device == "twist":
            device = TwistTopic(wire, config.source)
        else:
            device = LeaderArm(wire, config.source, config.joints, config.pedal)
    return config, WithKeys(device, keys) if keys else device


def show(name: str, robot: RobotConfig | None, seconds: float, to: str) -> None:
    """Print what the device says for some seconds, without any robot moving; with `to`, keep it as a recording."""
    with ExitStack() as stack:
        keys = stack.enter_context(keyboard(urgent="x")) if sys.stdin.isatty() else None
        config, device = open_device(name, keys, robot)
        if to:
            device = Recorder(device, config, Path(to))
        stack.enter_context(closing(device))
        lines, shown, until = 0, "", time.monotonic() + seconds
        while time.monotonic() < until:
            reading = device.read()
            if reading is not None and len(reading.axes):
                lines += 1
                said = f"axes {np.round(reading.axes, 2).tolist()}  buttons {sorted(reading.buttons)}"
                if said != shown:
                    print(said, flush=True)
                    shown = said
                if "x" in reading.keys:
                    break
            time.sleep(PERIOD_S)
        if not lines:
            raise ValueError(f"teleop={name}: the device said nothing within {seconds:g} s")

"""One robot's limits, read from a YAML file of `conf/safety` or of the user, checked before anything moves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from robo_reward.safety.gate import GateLimits
from robo_reward.settings import build, number, unknown

FOLDER = Path(__file__).parent.parent / "conf" / "safety"
_AXES = ("low", "high", "step", "velocity", "acceleration", "jerk", "jump")


@dataclass(frozen=True)
class Limits:
    """What the gate enforces. Axes: base-frame position [m] and rotation vector from tool-down [rad], six numbers;
    for a robot that is commanded in joint space one number [rad] for each joint.

    Nothing has a default but the times: whoever owns the robot writes the file.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    """Workspace box of every target."""
    step: tuple[float, ...]
    """What an action of 1 asks for: the largest distance of a target from the measured pose."""
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]
    """Bounds of the sent targets' motion, per axis, 1/s, 1/s^2 and 1/s^3."""
    jump: tuple[float, ...]
    """Largest distance of a sent target from the measured pose; beyond it the arm is not following."""
    joint_low: tuple[float, ...]
    joint_high: tuple[float, ...]
    """Joint limits of the robot itself [rad]."""
    joint_velocity: float = number(1.0, above=0)
    """Fastest joint [rad/s]."""
    joint_margin: float = number(0.1, above=0)
    """Distance from a joint limit [rad] within which moving outwards trips the gate."""
    force: float = number(20.0, above=0)
    """Contact force [N] that trips the gate."""
    torque: float = number(2.0, above=0)
    """Contact moment [Nm] that trips the gate."""
    action_timeout_s: float = number(0.15, above=0, high=1.0)
    """Longest time without an action, two to three periods of the policy."""
    state_timeout_s: float = number(0.1, above=0, high=0.5)
    """Longest age of the robot's state."""
    rate_hz: float = number(100.0, low=20.0, high=1000.0)
    """How often a target is sent."""
    own_timeout: bool = False
    """Whether the robot's controller itself stops when no command comes. If not, arming needs `unguarded=True`."""

    @cached_property
    def arrays(self) -> dict[str, Float[np.ndarray, "N"]]:
        """The limits that have one number an axis, as arrays."""
        return {name: np.array(getattr(self, name), dtype=np.float64) for name in _AXES}

    @property
    def action(self) -> GateLimits:
        """The part that concerns a single action."""
        return GateLimits(self.arrays["step"], self.arrays["low"], self.arrays["high"])

    @property
    def windows(self) -> tuple[int, int]:
        """Lengths [targets] of the two moving averages that bound acceleration and jerk."""
        a = self.arrays
        return (
            max(1, ceil(self.rate_hz * float(np.max(2 * a["velocity"] / a["acceleration"])) - 1e-9)),
            max(1, ceil(self.rate_hz * float(np.max(2 * a["acceleration"] / a["jerk"])) - 1e-9)),
        )

    @property
    def stopping_s(self) -> float:
        """Time [s] after which a held target no longer moves, if it is held where it was headed."""
        return sum(self.windows) / self.rate_hz


def load_limits(name: str) -> Limits:
    """The limits in `conf/safety/{name}.yaml`, or in the file `name` when it ends in `.yaml`.

    Raises:
        ValueError: no such file, a key that is unknown or missing, or limits that contradict each other.
    """
    path, settings = read_yaml(name, FOLDER, "safety limits")
    try:
        return check_limits(build(Limits, settings))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_yaml(name: str, folder: Path, what: str) -> tuple[Path, dict[str, Any]]:
    """The file `name.yaml` of a folder, or the file `name` when it ends in `.yaml`, and the settings in it.

    Raises:
        ValueError: there is no such file, or no settings are in it.
    """
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        if path.parent == folder:
            raise ValueError(unknown(what, name, (file.stem for file in folder.glob("*.yaml"))))
        raise ValueError(f"there is no file {path} of {what}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected `name: value` lines")
    return path, settings


def check_limits(limits: Limits) -> Limits:
    """The limits, or ValueError naming the first one that cannot be meant."""
    size = len(limits.step)
    for name in _AXES:
        values = getattr(limits, name)
        if len(values) != size or size == 0:
            raise ValueError(f"{name} has {len(values)} numbers, step has {size}; every axis needs one")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}={list(values)}: every number must be finite")
        if name not in ("low", "high") and min(values) <= 0:
            raise ValueError(f"{name}={list(values)}: every number must be > 0")
    for low, high in (("low", "high"), ("joint_low", "joint_high")):
        lows, highs = getattr(limits, low), getattr(limits, high)
        if len(lows) != len(highs):
            raise ValueError(f"{low} has {len(lows)} numbers, {high} has {len(highs)}")
        for axis, (least, most) in enumerate(zip(lows, highs, strict=True)):
            if not least < most:  # NaN is never less
                raise ValueError(f"{low}[{axis}]={least} must lie below {high}[{axis}]={most}")
    for field in fields(limits):
        value = getattr(limits, field.name)
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError(f"{field.name}={value}: must be finite")
    if np.any(limits.arrays["jump"] <= limits.arrays["step"]):
        raise ValueError(f"jump={list(limits.jump)} must exceed step={list(limits.step)}, or every action trips it")
    reach = limits.joint_velocity * limits.stopping_s
    if limits.joint_margin < reach:
        raise ValueError(
            f"joint_margin={limits.joint_margin} is less than what the fastest joint moves while stopping ({reach:.3f})"
        )
    return limits

"""The gate of a real arm: what was asked, what is sent, and when nothing may move any more.

Actions come at the policy's rate, setpoints leave at the robot's. Checks, in this order: action finite and of the right
shape; workspace box; step; joint limits; velocity, acceleration, jerk; distance from the measured pose; contact force.
Whatever does not fit within the first three is cut. Whatever should not happen trips: the setpoint is led to the
measured pose and stays, until somebody arms the gate again. A software gate is no safety-rated stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float

from robo_reward.safety.gate import check_action, gate_target
from robo_reward.safety.limits import Limits
from robo_reward.safety.smoothing import Smoother

CREEP = 0.02
"""Joint speed [rad/s] below which a joint beyond its margin counts as standing."""


class Mode(Enum):
    """Who decides where the arm goes."""

    DISARMED = 0
    """Nobody yet: nothing is sent."""
    ARMED = 1
    """The actions."""
    HELD = 2
    """The gate, after a trip or on request; the setpoint rests. `arm` leaves it."""
    STOPPED = 3
    """The emergency stop; `clear` first, then `arm`."""


@dataclass(frozen=True)
class Sensed:
    """The robot's state, as new as its oldest part."""

    pose: Float[np.ndarray, "N"]
    """In the axes of `Limits`."""
    joints: Float[np.ndarray, "J"]
    """Positions [rad]."""
    joint_velocity: Float[np.ndarray, "J"]
    """Speeds [rad/s]."""
    wrench: Float[np.ndarray, "6"]
    """Contact force [N] and moment [Nm]; zeros where nothing measures them."""
    time_s: float
    """When its oldest part arrived, local monotonic clock."""


class Gate:
    """State machine of one arm. Not for several threads at once."""

    def __init__(self, limits: Limits, axes: tuple[int, ...] | None = None, sends_velocity: bool = False) -> None:
        """A disarmed gate.

        Args:
            limits: checked ones (`load_limits`).
            axes: those that actions drive; the others keep their target. None drives all.
            sends_velocity: the robot is sent `velocity`. Its setpoints are then counted from the measured pose anew
                with every action: a position that was only added up would drift away from the arm for good.
        """
        self.limits = limits
        self.mode, self.reason, self.trips = Mode.DISARMED, "not armed yet", 0
        self._axes = list(range(len(limits.step)) if axes is None else axes)
        self._smoother = Smoother(limits)
        self._sends_velocity, self._started = sends_velocity, False
        self._tick_s = -np.inf
        self._action_s: float | None = None

    def arm(self, sensed: Sensed | None, now: float, unguarded: bool = False) -> None:
        """Let actions through from here on; the first target is the measured pose.

        Args:
            sensed: the robot's state; None when it is not complete.
            now: local monotonic clock [s].
            unguarded: accept a robot that goes on when this process dies (`Limits.own_timeout`).

        Raises:
            ValueError: the emergency stop is active, the state is missing, old or not finite, or the robot has no
                time-out of its own and that was not accepted.
        """
        if self.mode is Mode.STOPPED:
            raise ValueError(f"cannot arm: emergency stop ({self.reason}); clear it first")
        if not (self.limits.own_timeout or unguarded):
            raise ValueError(
                "cannot arm: this robot's controller has no command time-out, so it goes on if the bridge dies; "
                "write unguarded=true if that is accepted"
            )
        if sensed is None or (fault := self._fault(sensed, now)):
            raise ValueError(f"cannot arm: {'no complete robot state yet' if sensed is None else fault}")
        if self.mode is Mode.ARMED:
            return
        pose = np.asarray(sensed.pose, dtype=np.float64)
        if self._started and np.all(np.abs(pose - self._smoother.position) <= self.limits.arrays["jump"]):
            # From where it is held, which may not have come to rest yet; a counted position, from where the arm is.
            if self._sends_velocity:
                self._smoother.shift(pose - self._smoother.position)
            self._smoother.goal = self._smoother.ramp.copy() if self._sends_velocity else pose.copy()
        else:
            self._smoother.reset(pose)
        self.mode, self.reason, self._started = Mode.ARMED, "", True
        self._tick_s, self._action_s = now, None

    @property
    def velocity(self) -> Float[np.ndarray, "N"]:
        """Speed of the setpoint [1/s]."""
        return self._smoother.velocity

    def request(
        self, action: np.ndarray, sensed: Sensed, now: float, asked_s: float | None = None
    ) -> Float[np.ndarray, "A"]:
        """Take one action in [-1, 1], one number for each driven axis.

        Args:
            action: what is asked for.
            sensed: the robot's state.
            now: local monotonic clock [s].
            asked_s: when it was asked for, which its time-out counts from; None: now.

        Returns:
            What will be executed, in the same units: zeros unless the gate is armed.
        """
        action = np.asarray(action, dtype=np.float64)
        nothing = np.zeros(len(self._axes))
        if self.mode is not Mode.ARMED:
            return nothing
        try:
            action = check_action(action, len(self._axes))
        except ValueError as error:
            self.hold(str(error), sensed)
            return nothing
        if fault := self._fault(sensed, now):
            self.hold(fault, sensed)
            return nothing
        if self._sends_velocity:
            self._smoother.shift(sensed.pose - self._smoother.position)
        delta = np.zeros(len(self.limits.step))
        delta[self._axes] = action
        target, executed, _ = gate_target(sensed.pose, delta, self.limits.action)
        goal = self._smoother.goal.copy()
        goal[self._axes] = target[self._axes]
        self._smoother.goal = goal
        self._action_s = now if asked_s is None else min(asked_s, now)
        return executed[self._axes]

    def tick(self, sensed: Sensed | None, now: float) -> Float[np.ndarray, "N"] | None:
        """The setpoint to send now, or None while nothing may be sent (never armed).

        Called at `Limits.rate_hz`. Calls that come early, or with a clock that went back, repeat the setpoint.
        """
        if not self._started:
            return None
        if self.mode is Mode.ARMED:
            fault = "the robot's state is missing" if sensed is None else self._trip(sensed, now)
            if fault:
                self.hold(fault, sensed)
        if now - self._tick_s >= 0.9 / self.limits.rate_hz:
            self._tick_s = now
            self._smoother.advance()
        return self._smoother.position.copy()

    def hold(self, reason: str, sensed: Sensed | None = None) -> None:
        """Come to rest and stay until `arm`: at the measured pose where one is known and positions are sent, so that
        an arm that presses gives way; else as soon as the bounds allow."""
        if self.mode is not Mode.ARMED:
            return
        self.mode, self.reason, self.trips = Mode.HELD, reason, self.trips + 1
        if self._sends_velocity or sensed is None or not np.isfinite(sensed.pose).all():
            self._smoother.goal = self._smoother.ramp.copy()
        else:  # within the workspace, or as far outside as it was headed
            a, goal = self.limits.arrays, self._smoother.goal
            self._smoother.goal = np.clip(sensed.pose, np.minimum(a["low"], goal), np.maximum(a["high"], goal))

    def stop(self, reason: str, sensed: Sensed | None = None) -> None:
        """Emergency stop: as `hold`, and `arm` is refused until `clear`."""
        self.hold(reason, sensed)
        if self.mode is not Mode.STOPPED:
            self.mode, self.reason = Mode.STOPPED, reason

    def disarm(self, reason: str) -> None:
        """Send nothing from here on, so that something else may move the arm; an emergency stop stays one."""
        if self.mode is not Mode.STOPPED:
            self.mode, self.reason, self._started = Mode.DISARMED, reason, False

    def clear(self) -> None:
        """End the emergency stop; nothing moves before `arm`."""
        if self.mode is Mode.STOPPED:
            self.mode = Mode.HELD if self._started else Mode.DISARMED

    def _fault(self, sensed: Sensed, now: float) -> str:
        """What is wrong with the state as such; empty when nothing is."""
        for name, values, size in (
            ("pose", sensed.pose, len(self.limits.step)),
            ("joint positions", sensed.joints, len(self.limits.joint_low)),
            ("joint speeds", sensed.joint_velocity, len(self.limits.joint_low)),
            ("wrench", sensed.wrench, 6),
        ):
            if np.shape(values) != (size,):
                return f"measured {name} of shape {np.shape(values)}, expected ({size},)"
            if not np.isfinite(values).all():
                return f"measured {name} {np.round(values, 4).tolist()} is not finite"
        age = now - sensed.time_s
        if not -1 / self.limits.rate_hz <= age <= self.limits.state_timeout_s:
            return f"the robot's state is {age:.3f} s old, allowed are {self.limits.state_timeout_s} s"
        return ""

    def _trip(self, sensed: Sensed, now: float) -> str:
        """What forbids to go on; empty when nothing does."""
        limits = self.limits
        if self._action_s is not None and now - self._action_s > limits.action_timeout_s:
            return f"no action for {now - self._action_s:.3f} s, allowed are {limits.action_timeout_s} s"
        if fault := self._fault(sensed, now):
            return fault
        if joint := self._joint_trip(sensed):
            return joint
        away = np.abs(self._smoother.position - sensed.pose)
        if np.any(away > limits.arrays["jump"]):
            axis = int(np.argmax(away / limits.arrays["jump"]))
            return f"the arm does not follow: axis {axis} is {away[axis]:.3f} off, allowed are {limits.jump[axis]}"
        force, torque = float(np.linalg.norm(sensed.wrench[:3])), float(np.linalg.norm(sensed.wrench[3:]))
        if force > limits.force or torque > limits.torque:
            return f"contact of {force:.1f} N and {torque:.2f} Nm, allowed are {limits.force} N and {limits.torque} Nm"
        return ""

    def _joint_trip(self, sensed: Sensed) -> str:
        """Joints too fast, or beyond their margin and moving on outwards."""
        limits, joints, speed = self.limits, sensed.joints, sensed.joint_velocity
        fastest = int(np.argmax(np.abs(speed)))
        if abs(speed[fastest]) > limits.joint_velocity:
            return f"joint {fastest + 1} moves at {speed[fastest]:.2f} rad/s, allowed are {limits.joint_velocity}"
        low, high = np.array(limits.joint_low), np.array(limits.joint_high)
        outwards = (joints < low + limits.joint_margin) & (speed < -CREEP)
        outwards |= (joints > high - limits.joint_margin) & (speed > CREEP)
        if outwards.any():
            joint = int(np.argmax(outwards))
            return (
                f"joint {joint + 1} at {joints[joint]:.3f} rad nears its limit "
                f"[{low[joint]}, {high[joint]}] and moves on"
            )
        return ""

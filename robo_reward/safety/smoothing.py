"""Targets at the policy's rate into setpoints at the robot's rate, bounded in velocity, acceleration and jerk.

A ramp of bounded speed, then two moving averages. The ramp bounds velocity by V; an average over n periods of T cannot
change a velocity within +-V faster than 2V / nT, and the same once more for the acceleration. Averages of points in a
box lie in the box: unlike a filter that is tuned, this one cannot overshoot.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from robo_reward.safety.limits import Limits


class Smoother:
    """State of the filter; `reset` before use."""

    def __init__(self, limits: Limits) -> None:
        self._rate_hz, self._stride = limits.rate_hz, limits.arrays["velocity"] / limits.rate_hz
        first, second = limits.windows
        size = len(limits.step)
        self.goal = np.zeros(size)
        self.ramp = np.zeros(size)
        """Where the ramp has come to: as a goal, the nearest place to rest."""
        self.position, self.velocity = np.zeros(size), np.zeros(size)
        """The setpoint, and its speed [1/s]."""
        self._first, self._second = np.zeros((first, size)), np.zeros((second, size))

    def reset(self, position: Float[np.ndarray, "N"]) -> None:
        """Rest at `position`, with no memory of earlier motion."""
        self.goal, self.ramp, self.position = position.copy(), position.copy(), position.copy()
        self.velocity = np.zeros(len(position))
        self._first[:] = self._second[:] = position

    def shift(self, offset: Float[np.ndarray, "N"]) -> None:
        """The same motion elsewhere: for commands that are velocities, whose positions are only counted."""
        self.goal, self.ramp, self.position = self.goal + offset, self.ramp + offset, self.position + offset
        self._first, self._second = self._first + offset, self._second + offset

    def advance(self) -> Float[np.ndarray, "N"]:
        """The next setpoint, one period on."""
        self.ramp = self.ramp + np.clip(self.goal - self.ramp, -self._stride, self._stride)
        self._first = np.concatenate([self._first[1:], self.ramp[None]])
        self._second = np.concatenate([self._second[1:], self._first.mean(0)[None]])
        before, self.position = self.position, self._second.mean(0)
        self.velocity = (self.position - before) * self._rate_hz
        return self.position

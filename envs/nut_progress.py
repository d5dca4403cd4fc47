"""NutAssemblySquare's stages and oracle progress, as functions of where hand, nut and peg are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robo_reward.envs.shares import oracle, outside

STAGES = ("approach", "grasp", "carry", "place")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.030, 0.060
OVER_SIDEWAYS, THREADED_SIDEWAYS = 0.020, 0.012
CLEAR_HEIGHT, PLACED_HEIGHT = 0.140, 0.050
"""Nut centre over the table: its lower face clears the peg's top; robosuite calls it placed."""
_CLEARANCE, _LEVER = 0.0067, 0.030
_REACH, _GRASP, _CARRY, _PLACE = 0.25, 0.067, 0.50, 0.12


class NutAndPeg(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres."""

    sideways: float
    """Horizontal distance from the grip point to the handle's grasping point."""
    height: float
    """Grip point over the handle's grasping point."""
    grasped: bool
    """Both fingers touch the nut and the grip point is at its height."""
    off_peg: float
    """Horizontal distance from the nut's centre to the peg's axis."""
    over_table: float
    """Nut's centre over the table."""
    turn: float
    """Angle between the sides of hole and peg, 0 to pi/4 [rad]."""
    on_peg: bool
    """robosuite's success: the nut is down around the peg and the hand is not at its centre."""


def stage_of(state: NutAndPeg) -> int:
    """Stages reached by this state alone: 1 near the nut, 2 grasped, 3 over the peg or around it, 4 down on it.

    A held nut is over the peg when it is high enough and within 2 cm of its axis. One whose centre is within 12 mm of
    the axis and lower than the peg's top is around the peg, held or not.
    """
    if state.on_peg:
        return 4
    above = state.grasped and state.off_peg <= OVER_SIDEWAYS and state.over_table >= CLEAR_HEIGHT
    around = state.off_peg <= THREADED_SIDEWAYS and state.over_table < CLEAR_HEIGHT
    if above or around:
        return 3
    if state.grasped:
        return 2
    return int(state.sideways <= NEAR_SIDEWAYS and abs(state.height) <= NEAR_HEIGHT)


def oracle_of(state: NutAndPeg) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the nut is dropped. The share is 1 - distance left to the next stage's
    region / that stage's extent: 25 cm of reach; 6.7 cm from hovering to the handle; 50 cm up and across to the peg;
    12 cm down it, to which come what the nut is off the axis beyond the hole's clearance and the arc that the hole's
    corner (3 cm from the axis) is turned.
    """
    stage = stage_of(state)
    if stage == 4:
        return 1.0
    if stage == 3:
        down = max(state.over_table - PLACED_HEIGHT, 0.0)
        left = (down + max(state.off_peg - _CLEARANCE, 0.0) + _LEVER * state.turn) / _PLACE
    elif stage == 2:
        up = max(CLEAR_HEIGHT - state.over_table, 0.0)
        left = (up + max(state.off_peg - OVER_SIDEWAYS, 0.0)) / _CARRY
    elif stage == 1:
        left = float(np.hypot(state.sideways, state.height)) / _GRASP
    else:
        left = outside(state.sideways, state.height, NEAR_SIDEWAYS, NEAR_HEIGHT) / _REACH
    return oracle(stage, 1.0 - left)

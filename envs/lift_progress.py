"""Lift's stages and oracle progress, as functions of how the cube lies in the hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robo_reward.envs.shares import oracle, outside

STAGES = ("approach", "straddle", "grasp", "lift")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.030, 0.060
STRADDLE_ACROSS, STRADDLE_HEIGHT = 0.020, 0.015
LIFTED_HEIGHT = 0.040
_REACH, _MAX_GAP, CUBE_WIDTH = 0.20, 0.080, 0.040


class CubeInHand(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres."""

    along: float
    """Cube centre minus grip point along the fingers' opening direction."""
    across: float
    """The same, horizontally at right angles to it."""
    height: float
    """Grip point over cube centre."""
    gap: float
    """Distance between the fingers, 0 to 0.08."""
    grasped: bool
    """Both fingers touch the cube and the grip point is at its height."""
    lift: float
    """Cube centre over its place of rest on the table."""


def stage_of(state: CubeInHand) -> int:
    """Stages reached by this state alone: 1 near or above the cube, 2 around it, 3 grasped, 4 lifted by 4 cm."""
    if state.grasped:
        return 4 if state.lift >= LIFTED_HEIGHT else 3
    if (
        abs(state.along) <= state.gap / 2
        and abs(state.across) <= STRADDLE_ACROSS
        and abs(state.height) <= STRADDLE_HEIGHT
    ):
        return 2
    return int(np.hypot(state.along, state.across) <= NEAR_SIDEWAYS and abs(state.height) <= NEAR_HEIGHT)


def oracle_of(state: CubeInHand) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the cube is dropped. The share is 1 - distance left to the next
    stage's region / that stage's extent: 20 cm of reach; 6 cm from hovering to straddling; the fingers' closing from
    8 cm to the cube's 4 cm; 4 cm of lift.
    """
    stage = stage_of(state)
    sideways, height = float(np.hypot(state.along, state.across)), abs(state.height)
    if stage == 4:
        return 1.0
    if stage == 3:
        share = state.lift / LIFTED_HEIGHT
    elif stage == 2:
        share = (_MAX_GAP - state.gap) / (_MAX_GAP - CUBE_WIDTH)
    elif stage == 1:
        along = max(abs(state.along) - state.gap / 2, 0.0)
        across = max(abs(state.across) - STRADDLE_ACROSS, 0.0)
        left = float(np.linalg.norm([along, across, max(height - STRADDLE_HEIGHT, 0.0)]))
        share = 1 - left / NEAR_HEIGHT
    else:
        share = 1 - outside(sideways, height, NEAR_SIDEWAYS, NEAR_HEIGHT) / _REACH
    return oracle(stage, share)

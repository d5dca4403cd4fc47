"""PickPlaceCan's stages and oracle progress, as functions of where the can, the hand and the can's bin are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robo_reward.envs.shares import grasp_share, oracle, outside

STAGES = ("reach", "grasp", "carry", "release")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
CAN_WIDTH, MAX_GAP = 0.050, 0.080
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.040, 0.080
AROUND_SIDEWAYS, AROUND_HEIGHT = 0.020, 0.030
CLEAR_HEIGHT, PLACED_HEIGHT = 0.140, 0.080
"""Can's centre over a bin's floor [m]: where it passes over the rims with 2 cm to spare; below which it is inside."""
LET_GO = 0.043
"""Distance from grip point to can's centre beyond which robosuite takes a can in its bin as placed [m]."""
_REACH, _CARRY = 0.40, 0.75


class CanScene(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres."""

    sideways: float
    """Horizontal distance from the grip point to the can's centre."""
    height: float
    """Grip point over the can's centre."""
    gap: float
    """Distance between the fingers, 0 to 0.08."""
    grasped: bool
    """Both fingers touch the can and the grip point is at its height."""
    can_height: float
    """Can's centre over the bins' floor; 4 cm when it stands there."""
    away: float
    """Horizontal distance from the can's centre to the place over its bin where it clears the rims; 0 inside."""
    placed: bool
    """robosuite's success: the can is in its bin, below 8 cm over the floor, and the hand has let go of it."""


def stage_of(scene: CanScene) -> int:
    """Stages reached by this state alone: 1 hand near the can, 2 grasped, 3 over its bin, 4 in its bin and let go."""
    if scene.placed:
        return 4
    if scene.away == 0.0 and scene.can_height > 0.0:
        return 3
    if scene.grasped:
        return 2
    return int(scene.sideways <= NEAR_SIDEWAYS and abs(scene.height) <= NEAR_HEIGHT)


def oracle_of(scene: CanScene) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the can is dropped or knocked away. The share of stage

    - 0 is 1 - distance to the region near the can / 40 cm of reach;
    - 1 is 0.6 of the way from there to the fingers around the can, and 0.4 their closing from 8 cm to its 5 cm;
    - 2 is 1 - (way over the floor to the bin + height missing to pass over the rims) / 75 cm of carrying;
    - 3 is half the can's way down into the bin, half the hand's way off it.
    """
    stage = stage_of(scene)
    if stage == 4:
        return 1.0
    if stage == 3:
        down = (CLEAR_HEIGHT - scene.can_height) / (CLEAR_HEIGHT - PLACED_HEIGHT)
        off = float(np.hypot(scene.sideways, scene.height)) / LET_GO
        share = (float(np.clip(down, 0.0, 1.0)) + min(off, 1.0)) / 2
    elif stage == 2:
        share = 1 - (scene.away + max(CLEAR_HEIGHT - scene.can_height, 0.0)) / _CARRY
    elif stage == 1:
        left = outside(scene.sideways, scene.height, AROUND_SIDEWAYS, AROUND_HEIGHT)
        share = grasp_share(left, NEAR_HEIGHT, (MAX_GAP - scene.gap) / (MAX_GAP - CAN_WIDTH))
    else:
        share = 1 - outside(scene.sideways, scene.height, NEAR_SIDEWAYS, NEAR_HEIGHT) / _REACH
    return oracle(stage, share)

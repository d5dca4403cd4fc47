"""Stack's stages and oracle progress, as functions of where the hand and the two cubes are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robo_reward.envs.shares import grasp_share, oracle, outside

STAGES = ("reach", "grasp", "carry", "release")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
CUBE_WIDTH, MAX_GAP = 0.040, 0.080
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.030, 0.060
AROUND_SIDEWAYS, AROUND_HEIGHT = 0.015, 0.015
OVER_SIDEWAYS = 0.020
STACKED_HEIGHT = 0.070
"""Red cube's centre over the table when it rests on the green one [m]."""
_OVER_HEIGHT = 0.065
_REACH, _CARRY, _LOWER = 0.20, 0.25, 0.05


class StackScene(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres."""

    sideways: float
    """Horizontal distance from the grip point to the red cube's centre."""
    height: float
    """Grip point over the red cube's centre."""
    gap: float
    """Distance between the fingers, 0 to 0.08."""
    grasped: bool
    """Both fingers touch the red cube and the grip point is at its height."""
    over_table: float
    """Red cube's centre over the table; 2 cm when it lies there."""
    off: float
    """Horizontal distance between the two cubes' centres."""
    stacked: bool
    """robosuite's success: the red cube touches the green one, is off the table, and the hand has let go of it."""


def stage_of(scene: StackScene) -> int:
    """Stages reached by this state alone: 1 hand near the cube, 2 grasped, 3 over the green cube, 4 stacked."""
    if scene.stacked:
        return 4
    if scene.off <= OVER_SIDEWAYS and scene.over_table >= _OVER_HEIGHT:
        return 3
    if scene.grasped:
        return 2
    return int(scene.sideways <= NEAR_SIDEWAYS and abs(scene.height) <= NEAR_HEIGHT)


def oracle_of(scene: StackScene) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the cube is dropped or knocked away. The share of stage

    - 0 is 1 - distance to the region near the cube / 20 cm of reach;
    - 1 is 0.6 of the way from there to the fingers around the cube, and 0.4 their closing from 8 cm to its 4 cm;
    - 2 is 1 - (way over the table to the green cube + height missing to rest on it) / 25 cm of carrying;
    - 3 is half the cube's way down onto the green one, half its way to the green one's middle.
    """
    stage = stage_of(scene)
    if stage == 4:
        return 1.0
    if stage == 3:
        down = 1 - (scene.over_table - STACKED_HEIGHT) / _LOWER
        share = (float(np.clip(down, 0.0, 1.0)) + 1 - scene.off / OVER_SIDEWAYS) / 2
    elif stage == 2:
        up = max(STACKED_HEIGHT - scene.over_table, 0.0)
        share = 1 - (max(scene.off - OVER_SIDEWAYS, 0.0) + up) / _CARRY
    elif stage == 1:
        left = outside(scene.sideways, scene.height, AROUND_SIDEWAYS, AROUND_HEIGHT)
        share = grasp_share(left, NEAR_HEIGHT, (MAX_GAP - scene.gap) / (MAX_GAP - CUBE_WIDTH))
    else:
        share = 1 - outside(scene.sideways, scene.height, NEAR_SIDEWAYS, NEAR_HEIGHT) / _REACH
    return oracle(stage, share)

"""Door's stages and oracle progress, as functions of where the hand, the handle and the door are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robo_reward.envs.shares import oracle

STAGES = ("reach", "straddle", "press", "pull")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.050, 0.110
"""The hand comes to the handle from above: below its axle it is not near."""
AROUND_SIDEWAYS, AROUND_HEIGHT, OPEN_GAP = 0.035, 0.012, 0.045
"""The fingertips reach below the lever's upper edge, one on each side of it."""
UNLATCHED, AJAR = 1.2, 0.03
"""Angle of the lever from which the latch passes the frame; of a door that it has let go [rad]."""
OPENED = 0.3
"""robosuite's success: angle of the door [rad]."""
_REACH = 0.40


class DoorScene(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres, angles in radians."""

    sideways: float
    """Horizontal distance from the grip point to the place where the hand straddles the lever."""
    height: float
    """Grip point over the lever's axle."""
    gap: float
    """Distance between the fingers, 0 to 0.08."""
    latch: float
    """How far the lever is pressed down; 0 at rest."""
    hinge: float
    """How far the door is open, 0 to 0.4."""


def stage_of(scene: DoorScene) -> int:
    """Stages reached by this state alone: 1 hand over the handle, 2 around it, 3 latch free of the frame, 4 open."""
    if scene.hinge > OPENED:
        return 4
    if scene.latch >= UNLATCHED or scene.hinge >= AJAR:
        return 3
    if scene.sideways <= AROUND_SIDEWAYS and scene.height <= AROUND_HEIGHT and scene.gap >= OPEN_GAP:
        return 2
    return int(scene.sideways <= NEAR_SIDEWAYS and 0.0 <= scene.height <= NEAR_HEIGHT)


def oracle_of(scene: DoorScene) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the lever springs back. The share of stage

    - 0 is 1 - distance to the region over the handle / 40 cm of reach;
    - 1 is 1 - distance to where the fingers straddle the lever / 11 cm;
    - 2 is the lever's angle / 1.2 rad;
    - 3 is the door's angle / 0.3 rad.
    """
    stage = stage_of(scene)
    if stage == 4:
        return 1.0
    if stage == 3:
        share = scene.hinge / OPENED
    elif stage == 2:
        share = scene.latch / UNLATCHED
    elif stage == 1:
        left = (max(scene.sideways - AROUND_SIDEWAYS, 0.0), max(scene.height - AROUND_HEIGHT, 0.0))
        share = 1 - float(np.hypot(*left)) / NEAR_HEIGHT
    else:
        left = (max(scene.sideways - NEAR_SIDEWAYS, 0.0), max(scene.height - NEAR_HEIGHT, -scene.height, 0.0))
        share = 1 - float(np.hypot(*left)) / _REACH
    return oracle(stage, share)

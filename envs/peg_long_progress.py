"""PegInsertLong's stages and oracle progress, as functions of where hand, peg and socket are."""

from __future__ import annotations

from typing import NamedTuple

from robo_reward.envs.shares import grasp_share, oracle, outside

STAGES = ("reach", "grasp", "carry", "insert")
"""Stage k is over when the state reaches k+1 by `stage_of`."""
NEAR_SIDEWAYS, NEAR_HEIGHT = 0.020, 0.050
AROUND_SIDEWAYS, AROUND_HEIGHT, GRASP_HEIGHT = 0.010, 0.015, 0.022
"""Tool over the peg's tip [m]; from the last one on the fingers end above the peg's top."""
OPEN, CLOSED = 0.035, 0.010
"""Finger's distance from the middle [m]: open, and closed on the peg."""
OVER_SIDEWAYS, CLEAR_HEIGHT = 0.025, 0.010
MOUTH_HEIGHT, MOUTH_SIDEWAYS = 0.003, 0.006
ENGAGED_DEPTH, INSERTED_DEPTH, HOLE_SIDEWAYS = 0.002, 0.020, 0.0025
_REACH, _CARRY, _OVER = 0.30, 0.35, 0.046


class PegScene(NamedTuple):
    """The geometry that stages and oracle are defined on; lengths in metres."""

    sideways: float
    """Horizontal distance from the tool to the peg's tip."""
    height: float
    """Tool over the peg's tip; about 0 where the peg sits in the hand as it should."""
    opening: float
    """Finger's distance from the middle of the hand."""
    grasped: bool
    """Both fingers press on the peg's sides."""
    upright: bool
    """The peg's tip points down."""
    off: float
    """Horizontal distance from the peg's tip to the named mouth."""
    over: float
    """Peg's tip over the mouth, -0.04 where it stands on the table."""


def stage_of(scene: PegScene) -> int:
    """Stages reached by this state alone: 1 near the peg, 2 grasped, 3 at the mouth or in it, 4 inserted.

    A peg that lies on its side has reached none: no action sets it up again.
    """
    if not scene.upright:
        return 0
    if scene.off <= HOLE_SIDEWAYS and scene.over <= -ENGAGED_DEPTH:
        return 4 if scene.over <= -INSERTED_DEPTH else 3
    if scene.off <= MOUTH_SIDEWAYS and abs(scene.over) <= MOUTH_HEIGHT:
        return 3
    if scene.grasped and scene.height <= GRASP_HEIGHT:
        return 2
    return int(scene.sideways <= NEAR_SIDEWAYS and abs(scene.height) <= NEAR_HEIGHT)


def oracle_of(scene: PegScene) -> float:
    """Oracle progress in [0, 1]: (stages reached + share of the next one) / 4, a function of the state alone.

    So it is defined on failures, and falls when the peg is dropped. The share of stage

    - 0 is 1 - distance to the region near the peg / 30 cm of reach;
    - 1 is 0.6 of the way from there to the fingers around the peg, and 0.4 their closing;
    - 2 is 1 - way to the mouth / 35 cm of carrying: up until the peg clears the socket, across, and down;
    - 3 is the search and the insertion by half: 1 - sideways distance / 6 mm, then depth / 20 mm.
    """
    stage = stage_of(scene)
    if stage == 4:
        return 1.0
    if stage == 3:
        if scene.off <= HOLE_SIDEWAYS and scene.over <= -ENGAGED_DEPTH:
            share = 0.5 + 0.5 * (-scene.over - ENGAGED_DEPTH) / (INSERTED_DEPTH - ENGAGED_DEPTH)
        else:
            share = 0.5 * (1 - scene.off / MOUTH_SIDEWAYS)
    elif stage == 2:
        if scene.off > OVER_SIDEWAYS:
            left = scene.off - OVER_SIDEWAYS + max(CLEAR_HEIGHT - scene.over, 0.0) + _OVER
        else:
            down = max(abs(scene.over) - MOUTH_HEIGHT, 0.0)
            left = min(max(scene.off - MOUTH_SIDEWAYS, 0.0) + down, _OVER)
        share = 1 - left / _CARRY
    elif stage == 1:
        left = outside(scene.sideways, scene.height, AROUND_SIDEWAYS, AROUND_HEIGHT)
        share = grasp_share(left, NEAR_HEIGHT, (OPEN - scene.opening) / (OPEN - CLOSED))
    else:
        share = 1 - outside(scene.sideways, scene.height, NEAR_SIDEWAYS, NEAR_HEIGHT) / _REACH
    return oracle(stage, share)

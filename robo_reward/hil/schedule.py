"""When help is asked for, and which: the scheduler of the graded protocol, a function of what happened so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from robo_reward.config import HilConfig
from robo_reward.hil.places import Place

FREE, DEMONSTRATE, RETURN, GUIDE = GRADES = ("free", "demonstrate", "return", "guide")
"""The policy alone; the operator from the start; the policy from a place; the operator from a place."""
WINDOW = 10
"""Free rollouts that success is judged by, and newest places that are looked at."""


class Past(NamedTuple):
    """What became of one rollout."""

    grade: str
    place: int
    """Number of the place that it began at; -1 for none."""
    success: bool


def schedule(
    settings: HilConfig, past: Sequence[Past], places: Sequence[Place], minutes: float
) -> tuple[str, Place | None]:
    """Grade of the next rollout, and the place that it begins at.

    Demonstrations come first. With `hil.protocol=graded` every second rollout after them is free, and shows how the
    policy fares; if it succeeds in less than `hil.enough` of the last ones, the others go to the place that fewest of
    them began at, of the newest that the policy has not mastered yet. There the policy tries by itself; where it failed
    `hil.returns` times since it was last shown, the operator shows it.

    Args:
        past: the rollouts so far.
        places: found so far, in order.
        minutes: that the operator may still drive [min].
    """
    if minutes > 0 and sum(rollout.grade == DEMONSTRATE for rollout in past) < settings.demonstrations:
        return DEMONSTRATE, None
    if settings.protocol != "graded" or not past or past[-1].grade != FREE:
        return FREE, None
    free = [rollout.success for rollout in past if rollout.grade == FREE][-WINDOW:]
    if len(free) == WINDOW and sum(free) >= settings.enough * WINDOW:
        return FREE, None
    mastered = {rollout.place for rollout in past if rollout.grade == RETURN and rollout.success}
    open_places = [place for place in places if place.number not in mastered][-WINDOW:]
    if not open_places:
        return FREE, None
    tried = {place.number: [r for r in past if r.place == place.number] for place in open_places}
    place = min(reversed(open_places), key=lambda place: len(tried[place.number]))
    alone = 0
    for rollout in tried[place.number]:
        alone = 0 if rollout.grade == GUIDE else alone + 1
    return (GUIDE if alone >= settings.returns and minutes > 0 else RETURN), place

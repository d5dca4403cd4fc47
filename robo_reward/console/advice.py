"""The graded protocol for a person: what the schedule would have them do next, from what became of each episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robo_reward.config import HilConfig
from robo_reward.hil.places import Place
from robo_reward.hil.protocol import VERDICTS
from robo_reward.hil.schedule import DEMONSTRATE, FREE, GUIDE, RETURN, Past, schedule


def what_happened(label: str, kept: Mapping[str, int]) -> Past:
    """An episode as the schedule counts it: shown where a person drove most of it, and a success of the policy's only
    where nobody drove at all.

    Args:
        label: its verdict.
        kept: what the session's log has of it: steps, driven, place; empty where it was lost.
    """
    driven, steps, place = kept.get("driven", 0), kept.get("steps", 0), kept.get("place", -1)
    shown = 2 * driven > steps
    grade = (GUIDE if shown else RETURN) if place >= 0 else (DEMONSTRATE if shown else FREE)
    return Past(grade, place, label == "success" and (shown or not driven))


def advise(
    hil: HilConfig, fps: int, labels: Sequence[str], kept: Mapping[int, Mapping[str, int]], places: Sequence[Place]
) -> tuple[dict[str, Any], list[list[Any]]]:
    """For the page what to do next, with the minutes driven and allowed; and the rows of `Operators.past` so far.

    Args:
        labels: of all episodes; those that say nothing of an outcome are passed over.
        kept: see `SessionLog.kept`.
        places: found so far, in order.
    """
    judged = [(label, kept.get(number, {})) for number, label in enumerate(labels) if label in VERDICTS]
    past = [what_happened(label, of) for label, of in judged]
    driven = sum(of.get("driven", 0) for of in kept.values()) / fps / 60
    grade, place = schedule(hil, past, places, hil.budget_minutes - driven)
    advice = {"grade": grade, "place": -1 if place is None else place.number, "minutes": hil.budget_minutes}
    return advice, [[*row, of.get("driven", 0)] for row, (_, of) in zip(past, judged, strict=True)]

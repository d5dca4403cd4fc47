"""Scripted policies for `robo_reward/PickPlaceCan-v0`: an expert with natural variation and a weak one.

The expert feels with its fingers whether it holds the can and starts again when it does not. The weak one carries out
one fault an episode, at any stage of the task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.envs.robosuite_arm import AGENT_POS
from robo_reward.policies.scripted_arm import (
    GAIN,
    GraspMemory,
    GraspStyle,
    ScriptedArm,
    averaged,
    drawn_fault,
    drawn_stall,
)

FAULTS = {
    "none": 1,
    "miss": 3,  # the fingers close beside the can
    "early": 1,  # the fingers close over the can
    "topple": 3,  # the hand comes at the can from the side and too low
    "drop": 4,  # the fingers open on the way
    "low": 2,  # the can is carried against the rims
    "beside": 4,  # the can is released over a rim or a wrong compartment
    "back": 3,  # the can is held over its bin and carried back
    "stall": 5,  # the hand stops somewhere for good
}
"""What goes wrong in a weak episode -> its weight."""
_HELD_GAP = 0.030  # [m]; the can is 5 cm wide, empty fingers close further
_CLOSING_STEPS, _OPENING_STEPS = 8, 4
_GRIP_HEIGHT = 0.012  # [m] over the can's centre: lower, the palm touches its top; higher, the fingers its neck
_HIGH = 0.2  # [m] of the grip point over the bins' floor: where an empty hand moves
_NEAR_SIDE = np.array([-0.015, -0.045])  # [m] from the bin's centre: its far side is at the end of the arm's reach
_HOLDING = ("close", "lift", "carry", "lower", "back")


@dataclass(frozen=True, kw_only=True)
class Style(GraspStyle):
    """How this episode is carried out."""

    carry: float
    """Height of the grip point over the bins' floor on the way [m]."""
    place: tuple[float, float]
    """Offset of the place of release from the bin's centre [m]."""
    release: float
    """Height of the grip point over the bins' floor at which the fingers open [m]."""
    drop: float = -1.0
    """Way left to the place of release at which the fingers open [m]; -1 for never."""
    back: bool = False
    """Carry the can back in place of letting it go."""
    stall: str = ""
    """Phase in which the hand stops for good; empty for none."""
    stall_after: int = 0
    """Steps into that phase before it does."""


@dataclass(frozen=True)
class CanState(GraspMemory):
    """Everything the policy remembers of one episode."""

    style: Style | None = None
    seen: tuple[float, ...] = (0.0,) * 6
    """Means of the estimates of can (3) and bin (3) so far, base frame [m]; not updated while the can may be held."""


class ScriptedCan(ScriptedArm[CanState]):
    """Approach, descend, close, lift, carry, lower, let go; begin again when the can is lost.

    The weak one has one of `FAULTS` an episode and tries once.
    """

    task, memory = "can", CanState

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: CanState) -> tuple[np.ndarray, CanState]:
        rng = self._random(estimate)
        style = state.style or _draw_style(rng, self.kind)
        grip = np.asarray(agent_pos[AGENT_POS["position"]], np.float64)
        can = grip + estimate[:3]
        state = _remember(replace(state, style=style), np.concatenate([can, can + estimate[5:8]]))
        action = np.zeros(5)
        if state.phase != style.stall or state.phase_steps < style.stall_after:
            state = _next_phase(state, style, grip, float(agent_pos[AGENT_POS["gap"]][0]), rng)
            way = _goal(state, style) - grip
            # One speed for all directions: the hand moves on a straight line.
            action[:3] = way * min(GAIN, style.speed / max(np.abs(way).max(), 1e-9))
            action[:3] += style.tremor * rng.normal(size=3)
        dropping = state.phase == "carry" and np.linalg.norm(_goal(state, style)[:2] - grip[:2]) < style.drop
        action[4] = 1.0 if state.phase in _HOLDING and not dropping else -1.0
        return np.clip(action, -1, 1), replace(state, phase_steps=state.phase_steps + 1)


def _draw_style(rng: np.random.Generator, kind: str) -> Style:
    fumbles = kind == "expert" and rng.random() < 0.15
    style = Style(
        speed=rng.uniform(0.8, 1.0),
        hover=rng.uniform(0.09, 0.12),
        detour=tuple(rng.normal(scale=0.008, size=2).tolist()),
        aim=(*rng.normal(scale=0.003, size=2).tolist(), rng.uniform(-0.004, 0.004)),
        pause=int(rng.choice([0, 0, 2, 5])),
        early=rng.uniform(0.05, 0.06) if fumbles else 0.0,
        carry=rng.uniform(0.18, 0.22),
        place=tuple((_NEAR_SIDE + rng.uniform(-1, 1, 2) * (0.02, 0.025)).tolist()),
        release=rng.uniform(0.09, 0.15),
        attempts=4,
        tremor=0.05,
    )
    return style if kind == "expert" else _spoil(replace(style, speed=0.9 * style.speed, attempts=1, tremor=0.12), rng)


def _spoil(style: Style, rng: np.random.Generator) -> Style:
    """The style with one fault put in, drawn by the weights of `FAULTS`."""
    fault = drawn_fault(rng, FAULTS)
    angle = rng.uniform(-np.pi, np.pi)
    aside = np.array([np.cos(angle), np.sin(angle)])
    if fault == "miss":
        return replace(style, aim=(*(aside * rng.uniform(0.03, 0.06)).tolist(), style.aim[2]))
    if fault == "early":
        return replace(style, early=rng.uniform(0.045, 0.07))
    if fault == "topple":
        return replace(style, hover=rng.uniform(0.0, 0.025), detour=(rng.normal(scale=0.02), -rng.uniform(0.05, 0.1)))
    if fault == "drop":
        return replace(style, drop=rng.uniform(0.12, 0.6))
    if fault == "low":
        return replace(style, carry=rng.uniform(0.09, 0.125), release=0.07)
    if fault == "beside":
        # The rims lie 10 cm (x) and 12 cm (y) from the bin's centre, the next compartments behind them.
        x, y = rng.uniform(0.09, 0.2), rng.uniform(0.11, 0.25)
        place = [(-x, style.place[1]), (style.place[0], -y), (-x, -y)][int(rng.integers(3))]
        return replace(style, place=place, release=rng.uniform(0.12, 0.17))
    if fault == "back":
        return replace(style, back=True, release=style.carry)  # held high: lower, the rims would wipe it off
    if fault == "stall":
        latest = {"approach": 12, "descend": 6, "lift": 6, "carry": 40, "lower": 1}
        return replace(style, **drawn_stall(rng, latest, "lower"))
    return style


def _remember(state: CanState, seen: np.ndarray) -> CanState:
    """Average the estimates while the hand is away from the can, so that noise goes and the bias stays."""
    if state.phase in _HOLDING:
        return state
    samples = min(state.samples + 1, 20)
    return replace(state, seen=averaged(state.seen, seen, samples), samples=samples)


def _goal(state: CanState, style: Style) -> np.ndarray:
    """Where the grip point should go in the present phase, base frame [m]."""
    can, place = np.array(state.seen[:3]), np.array(state.seen[3:])
    target = can + style.aim + [*state.correction, _GRIP_HEIGHT]
    above = place + [*style.place, 0.0]
    if state.phase == "approach":
        return target + [*style.detour, style.hover]
    if state.phase in ("descend", "close"):
        return target + [0.0, 0.0, style.closing_height(state.attempt)]
    if state.phase == "recover":
        return np.array([*target[:2], place[2] + _HIGH])
    if state.phase in ("lift", "back"):
        return np.array([*target[:2], place[2] + style.carry])
    if state.phase == "carry":
        return above + [0.0, 0.0, style.carry]
    return above + [0.0, 0.0, style.release if state.phase in ("lower", "release") else _HIGH]


def _next_phase(state: CanState, style: Style, grip: np.ndarray, gap: float, rng: np.random.Generator) -> CanState:
    """The state with its phase changed where the present one is over."""
    away = np.abs(_goal(state, style) - grip)
    steps, phase = state.phase_steps, state.phase

    def enter(phase: str) -> CanState:
        return replace(state, phase=phase, phase_steps=0)

    missed = gap < _HELD_GAP and (phase in ("lift", "carry", "lower") or (phase == "close" and steps >= _CLOSING_STEPS))
    if missed and state.attempt + 1 < style.attempts:
        # A clean grasp that missed was aimed wrongly: look beside it. One that closed early only needs to go lower.
        clean = style.closing_height(state.attempt) == 0.0
        correction = tuple(rng.uniform(-0.012, 0.012, 2).tolist()) if clean else state.correction
        return replace(enter("recover"), attempt=state.attempt + 1, samples=0, correction=correction)
    if phase == "approach" and steps >= style.pause and (away.max() < 0.015 or steps > 50):
        return enter("descend")
    if phase == "descend" and ((away[:2].max() < 0.006 and away[2] < 0.006) or steps > 20):
        return enter("close")
    if phase == "close" and steps >= _CLOSING_STEPS:
        return enter("lift")
    if phase == "lift" and (away[2] < 0.03 or steps > 25):
        return enter("carry")
    if phase == "carry" and (away.max() < 0.02 or steps > 80):
        return enter("lower")
    if phase == "lower" and (away[2] < 0.01 or steps > 15):
        return enter("back" if style.back else "release")
    if phase == "release" and steps >= _OPENING_STEPS:
        return enter("retreat")
    if phase == "retreat" and steps > 8 and state.attempt + 1 < style.attempts:
        return replace(enter("approach"), attempt=state.attempt + 1, samples=0)
    if phase == "recover" and (away[2] < 0.015 or steps > 20):
        return enter("approach")
    return state

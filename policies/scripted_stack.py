"""Scripted policies for `robo_reward/Stack-v0`: an expert with natural variation and a weak one.

The expert grasps by the faces beside which the green cube leaves room, feels with its fingers whether it holds the cube
and starts again when it does not. The weak one carries out one fault an episode, at any stage of the task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.envs.robosuite_arm import AGENT_POS
from robo_reward.policies.scripted_arm import (
    GAIN,
    YAW_GAIN,
    GraspMemory,
    GraspStyle,
    ScriptedArm,
    averaged,
    drawn_fault,
    drawn_stall,
    yaw_of,
)

FAULTS = {
    "none": 4,
    "miss": 3,  # the fingers close beside the cube
    "early": 2,  # the fingers close over the cube
    "drop": 4,  # the fingers open on the way
    "low": 2,  # the cube is pushed against the green one
    "beside": 4,  # the cube is released beside the green one; on its edge it would count as stacked
    "stall": 5,  # the hand stops somewhere for good
}
"""What goes wrong in a weak episode -> its weight."""
_HELD_GAP = 0.033  # [m]; the cube is 4 cm wide, empty fingers close further
_CLOSING_STEPS, _OPENING_STEPS = 9, 5
_STACKED = 0.045  # [m] between the cubes' centres
_RETREAT = 0.06  # [m] up, once the cube stands
_HOLDING = ("close", "lift", "carry", "lower")
"""Phases in which the fingers are closed."""


@dataclass(frozen=True, kw_only=True)
class Style(GraspStyle):
    """How this episode is carried out."""

    carry: float
    """Height of the cube over its place on the green one while it is carried [m]."""
    release: float
    """The same, when the fingers open."""
    place: tuple[float, float]
    """Offset of the place of release from the green cube's middle [m]."""
    drop: int = -1
    """Step of the carrying at which the fingers open; -1 for never."""
    stall: str = ""
    """Phase in which the hand stops for good; empty for none."""
    stall_after: int = 0
    """Steps into that phase before it does."""


@dataclass(frozen=True)
class StackState(GraspMemory):
    """Everything the policy remembers of one episode."""

    style: Style | None = None
    cube: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of the red cube's estimates, base frame [m]; not updated while the fingers are at it."""
    yaw: float = 0.0
    """Mean of the hand's yaws in which the fingers lie flat on the faces they have room at [rad]."""
    goal: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of where the grip point has to be for the red cube to rest on the green one, base frame [m]."""
    goal_samples: int = 0


class ScriptedStack(ScriptedArm[StackState]):
    """Approach, descend, close, lift, carry, lower, let go; begin again when the cube is lost.

    The weak one has one of `FAULTS` an episode and tries once.
    """

    task, memory = "stack", StackState

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: StackState) -> tuple[np.ndarray, StackState]:
        rng = self._random(estimate)
        style = state.style or _draw_style(rng, self.kind)
        grip = np.asarray(agent_pos[AGENT_POS["position"]], np.float64)
        yaw = yaw_of(agent_pos[AGENT_POS["quaternion"]])
        state = _remember(replace(state, style=style), grip, yaw, estimate)
        action = np.zeros(5)
        if state.phase != style.stall or state.phase_steps < style.stall_after:
            turn = (state.yaw - yaw + np.pi / 2) % np.pi - np.pi / 2  # half a turn swaps the fingers
            state = _next_phase(state, style, grip, float(agent_pos[AGENT_POS["gap"]][0]), turn, rng)
            way = _goal(state, style) - grip
            action[:3] = np.clip(GAIN * way, -style.speed, style.speed) + style.tremor * rng.normal(size=3)
            if state.phase in ("approach", "descend", "recover"):
                action[3] = np.clip(YAW_GAIN * turn, -style.speed, style.speed)
        dropping = state.phase == "carry" and 0 <= style.drop <= state.phase_steps
        action[4] = 1.0 if state.phase in _HOLDING and not dropping else -1.0
        return np.clip(action, -1, 1), replace(state, phase_steps=state.phase_steps + 1)


def _draw_style(rng: np.random.Generator, kind: str) -> Style:
    fumbles = kind == "expert" and rng.random() < 0.15
    style = Style(
        speed=rng.uniform(0.7, 1.0),
        hover=rng.uniform(0.05, 0.08),
        detour=tuple(rng.normal(scale=0.006, size=2).tolist()),
        aim=(*rng.normal(scale=0.002, size=2).tolist(), rng.uniform(-0.004, 0.004)),
        pause=int(rng.choice([0, 0, 2, 5])),
        early=rng.uniform(0.03, 0.04) if fumbles else 0.0,
        carry=rng.uniform(0.025, 0.05),
        release=rng.uniform(0.0, 0.005),
        place=tuple(rng.normal(scale=0.002, size=2).tolist()),
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
        return replace(style, aim=(*(aside * rng.uniform(0.03, 0.05)).tolist(), style.aim[2]))
    if fault == "early":
        return replace(style, early=rng.uniform(0.025, 0.05))
    if fault == "drop":
        return replace(style, drop=int(rng.integers(0, 3)))
    if fault == "low":
        return replace(style, carry=rng.uniform(-0.045, -0.035), release=-0.045)
    if fault == "beside":
        return replace(style, place=tuple((aside * rng.uniform(0.048, 0.08)).tolist()), release=rng.uniform(0.0, 0.02))
    if fault == "stall":
        latest = {"approach": 12, "descend": 5, "lift": 6, "carry": 6, "lower": 2}
        return replace(style, **drawn_stall(rng, latest, "lower"))
    return style


def _remember(state: StackState, grip: np.ndarray, yaw: float, estimate: np.ndarray) -> StackState:
    """Average the estimates, so that noise goes and the bias stays: the red cube's place, or its goal once held."""
    if state.phase in ("lift", "carry"):
        samples = min(state.goal_samples + 1, 8)
        seen = grip + estimate[5:8] + [0.0, 0.0, _STACKED]
        return replace(state, goal=averaged(state.goal, seen, samples), goal_samples=samples)
    if state.phase in ("approach", "descend", "recover"):
        samples = min(state.samples + 1, 20)
        face = yaw + float(np.arctan2(estimate[4], estimate[3])) / 4
        if samples == 1:
            # Of the two pairs of faces the one that looks away from the green cube, when that is close.
            green = float(np.arctan2(estimate[6], estimate[5]))
            crowded = np.hypot(estimate[5], estimate[6]) < 0.11
            known = face + (np.pi / 2 if crowded and abs(np.cos(green - face)) > np.sqrt(0.5) else 0.0)
        else:
            known = state.yaw + ((face - state.yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4) / samples
        cube = averaged(state.cube, grip + estimate[:3], samples)
        return replace(state, cube=cube, yaw=float(known), samples=samples)
    return state


def _goal(state: StackState, style: Style) -> np.ndarray:
    """Where the grip point should go in the present phase, base frame [m]."""
    target = np.array(state.cube) + style.aim + [*state.correction, 0.0]
    if state.phase == "approach":
        return target + [*style.detour, style.hover]
    if state.phase in ("descend", "close"):
        return target + [0.0, 0.0, style.closing_height(state.attempt)]
    if state.phase == "recover":
        return target + [0.0, 0.0, style.hover + 0.03]
    if state.phase == "lift":
        return np.array([*target[:2], (state.goal[2] if state.goal_samples else target[2] + _STACKED) + style.carry])
    height = {"carry": style.carry, "lower": style.release, "release": style.release}
    return np.array(state.goal) + [*style.place, height.get(state.phase, _RETREAT)]


def _next_phase(
    state: StackState, style: Style, grip: np.ndarray, gap: float, turn: float, rng: np.random.Generator
) -> StackState:
    """The state with its phase changed where the present one is over."""
    away = np.abs(_goal(state, style) - grip)
    steps, phase = state.phase_steps, state.phase

    def enter(phase: str) -> StackState:
        return replace(state, phase=phase, phase_steps=0)

    closed = phase in ("lift", "carry", "lower") or (phase == "close" and steps >= _CLOSING_STEPS)
    if closed and gap < _HELD_GAP and state.attempt + 1 < style.attempts:
        # A clean grasp that missed was aimed wrongly: look beside it. One that closed early only needs to go lower.
        clean = phase == "close" and style.closing_height(state.attempt) == 0.0
        correction = tuple(rng.uniform(-0.012, 0.012, 2).tolist()) if clean else (0.0, 0.0)
        return replace(enter("recover"), attempt=state.attempt + 1, samples=0, goal_samples=0, correction=correction)
    if phase == "approach" and steps >= style.pause and ((away.max() < 0.012 and abs(turn) < 0.1) or steps > 40):
        return enter("descend")
    if phase == "descend" and ((away[:2].max() < 0.006 and away[2] < 0.005) or steps > 20):
        return enter("close")
    if phase == "close" and steps >= _CLOSING_STEPS:
        return enter("lift")
    if phase == "lift" and steps >= 2 and (away[2] < 0.015 or steps > 20):
        return enter("carry")
    if phase == "carry" and (away.max() < 0.006 or steps > 40):
        return enter("lower")
    if phase == "lower" and (away[2] < 0.004 or steps > 12):
        return enter("release")
    if phase == "release" and steps >= _OPENING_STEPS:
        return enter("retreat")
    if phase == "retreat" and steps > 8 and state.attempt + 1 < style.attempts:
        return replace(enter("approach"), attempt=state.attempt + 1, samples=0, goal_samples=0)
    if phase == "recover" and (away[2] < 0.015 or steps > 20):
        return enter("approach")
    return state

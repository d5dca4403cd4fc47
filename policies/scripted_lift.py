"""Scripted policies for `robo_reward/Lift-v0`: an expert with natural variation and a weak one that mostly fails.

The expert feels with its fingers whether it holds the cube and tries again when it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.envs.robosuite_arm import AGENT_POS
from robo_reward.policies.scripted_arm import GAIN, YAW_GAIN, GraspMemory, GraspStyle, ScriptedArm, averaged

_HELD_GAP = 0.033  # [m]; the cube is 4 cm wide, empty fingers close further
_CLOSING_STEPS = 9
_HIGH_Z = 0.16  # [m] over the cube: where a lift ends


@dataclass(frozen=True, kw_only=True)
class Style(GraspStyle):
    """How this episode is carried out."""

    drop: int
    """Step of the lift at which the fingers open; -1 for never."""


@dataclass(frozen=True)
class LiftState(GraspMemory):
    """Everything the policy remembers of one episode."""

    style: Style | None = None
    steps: int = 0
    cube: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of the estimates so far, base frame [m]; not updated while the hand is at the cube."""


class ScriptedLift(ScriptedArm[LiftState]):
    """Approach, descend, close, lift; after a miss open, rise and try beside the last place.

    The weak one aims beside the cube, closes early, drops, and tries once.
    """

    task, memory = "lift", LiftState

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: LiftState) -> tuple[np.ndarray, LiftState]:
        rng = self._random(estimate)
        style = state.style or _draw_style(rng, self.kind)
        grip = np.asarray(agent_pos[AGENT_POS["position"]], np.float64)
        state = _remember(replace(state, style=style), grip + estimate[:3])
        gap = float(agent_pos[AGENT_POS["gap"]][0])
        state = _next_phase(state, style, grip, gap, rng)
        goal = _goal(state, style)
        action = np.zeros(5)
        action[:3] = np.clip(GAIN * (goal - grip), -style.speed, style.speed)
        if state.phase in ("approach", "descend", "recover"):
            turn = float(np.arctan2(estimate[4], estimate[3])) / 4
            action[3] = np.clip(YAW_GAIN * turn, -style.speed, style.speed)
        action[:3] += style.tremor * rng.normal(size=3)
        dropping = state.phase == "lift" and 0 <= style.drop <= state.phase_steps
        action[4] = 1.0 if state.phase in ("close", "lift") and not dropping else -1.0
        return np.clip(action, -1, 1), replace(state, steps=state.steps + 1, phase_steps=state.phase_steps + 1)


def _draw_style(rng: np.random.Generator, kind: str) -> Style:
    speed, hover, pause = rng.uniform(0.65, 1.0), rng.uniform(0.05, 0.09), int(rng.choice([0, 0, 2, 5]))
    detour = tuple(rng.normal(scale=0.008, size=2).tolist())
    if kind == "expert":
        fumbles = rng.random() < 0.15
        return Style(
            speed=speed,
            hover=hover,
            detour=detour,
            aim=(*rng.normal(scale=0.003, size=2).tolist(), rng.uniform(-0.004, 0.004)),
            pause=pause,
            early=rng.uniform(0.03, 0.04) if fumbles else 0.0,
            drop=-1,
            attempts=4,
            tremor=0.05,
        )
    drops = rng.random() < 0.4
    return Style(
        speed=0.8 * speed,
        hover=hover,
        detour=detour,
        aim=(*rng.normal(scale=0.022, size=2).tolist(), rng.uniform(-0.004, 0.010)),
        pause=pause,
        early=rng.uniform(0.015, 0.05) if rng.random() < 0.4 else 0.0,
        drop=int(rng.integers(1, 4)) if drops else -1,
        attempts=1,
        tremor=0.15,
    )


def _remember(state: LiftState, seen: np.ndarray) -> LiftState:
    """Average the estimates while the hand is away from the cube, so that noise goes and the bias stays."""
    if state.phase in ("close", "lift"):
        return state
    samples = min(state.samples + 1, 20)
    return replace(state, cube=averaged(state.cube, seen, samples), samples=samples)


def _target(state: LiftState, style: Style) -> np.ndarray:
    """Where the fingers should close."""
    return np.array(state.cube) + style.aim + [*state.correction, 0.0]


def _goal(state: LiftState, style: Style) -> np.ndarray:
    """Where the grip point should go in the present phase, base frame [m]."""
    target = _target(state, style)
    if state.phase == "approach":
        return target + [*style.detour, style.hover]
    if state.phase in ("descend", "close"):
        return target + [0.0, 0.0, style.closing_height(state.attempt)]
    return target + [0.0, 0.0, _HIGH_Z if state.phase == "lift" else style.hover]


def _next_phase(state: LiftState, style: Style, grip: np.ndarray, gap: float, rng: np.random.Generator) -> LiftState:
    """The state with its phase changed where the present one is over."""
    away = np.abs(_goal(state, style) - grip)
    there = away[:2].max() < 0.006 and away[2] < 0.005
    steps = state.phase_steps
    if state.phase == "approach" and steps >= style.pause and (away.max() < 0.012 or steps > 40):
        return replace(state, phase="descend", phase_steps=0)
    if state.phase == "descend" and (there or steps > 22):
        return replace(state, phase="close", phase_steps=0)
    missed = gap < _HELD_GAP and (state.phase == "lift" or steps >= _CLOSING_STEPS)
    if state.phase in ("close", "lift") and missed and state.attempt + 1 < style.attempts:
        # A clean grasp that missed was aimed wrongly: look beside it. One that closed early only needs to go lower.
        correction = np.array(state.correction)
        if style.closing_height(state.attempt) == 0.0:
            correction = rng.uniform(-0.015, 0.015, 2)
        return replace(
            state,
            phase="recover",
            phase_steps=0,
            attempt=state.attempt + 1,
            samples=0,
            correction=tuple(correction.tolist()),
        )
    if state.phase == "close" and steps >= _CLOSING_STEPS:
        return replace(state, phase="lift", phase_steps=0)
    if state.phase == "recover" and (away[2] < 0.015 or steps > 20):
        return replace(state, phase="descend", phase_steps=0)
    return state

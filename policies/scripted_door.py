"""Scripted policies for `robo_reward/Door-v0`: an expert with natural variation and a weak one.

The hand straddles the lever with open fingers, presses it down with its palm and pulls the door with the finger behind
it. The expert sees from the angles left whether the lever has slipped out, and starts again. The weak one carries out
one fault an episode, at any stage of the task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.envs.robosuite_arm import AGENT_POS
from robo_reward.policies.scripted_arm import GAIN, YAW_GAIN, ScriptedArm, averaged, drawn_fault, drawn_stall, yaw_of

FAULTS = {
    "none": 4,
    "beside": 4,  # the hand comes down beyond the lever's end, or in front of it
    "shallow": 4,  # it pulls before the latch is free
    "deep": 2,  # it presses on until the lever slips from between the fingers
    "leave": 4,  # it rises before the door is open
    "stall": 4,  # it stops somewhere for good
}
"""What goes wrong in a weak episode -> its weight."""
_PRESS = 1.0  # share of full speed with which the palm presses
_PULL = 0.03  # [m] that the goal lies ahead of the hand while it pulls
_STUCK_STEPS = 14


@dataclass(frozen=True)
class Style:
    """How this episode is carried out, drawn once from the policy's seed and the first observation."""

    speed: float
    """Share of full speed, (0, 1]."""
    hover: float
    """Height over the lever's axle before it comes down [m]."""
    aim: tuple[float, float]
    """Offset of the hand along the lever and away from the door [m]."""
    beyond: float
    """Angle by which the lever is pressed beyond what frees the latch [rad]."""
    pull: float
    """How far ahead of the hand its goal lies while it pulls [m]."""
    pause: int
    """Steps of rest over the handle."""
    attempts: int
    tremor: float
    """Standard deviation of the noise added to the translation, in action units."""
    leave: int = -1
    """Step of the pulling at which the hand rises; -1 for never."""
    stall: str = ""
    """Phase in which the hand stops for good; empty for none."""
    stall_after: int = 0
    """Steps into that phase before it does."""


@dataclass(frozen=True)
class DoorState:
    """Everything the policy remembers of one episode."""

    style: Style | None = None
    phase: str = "rise"
    phase_steps: int = 0
    attempt: int = 0
    place: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of the estimates of the place to straddle, base frame [m]; later ones count a quarter."""
    samples: int = 0
    depth: float = 0.0
    """Height of the hand where it had pressed the lever down [m]."""
    best: float = 9.0
    """Least angle that the door had yet to be opened [rad]."""
    stuck: int = 0
    """Steps for which it has not been opened further."""


class ScriptedDoor(ScriptedArm[DoorState]):
    """Rise, approach, press, pull; begin again when the door comes no further.

    The weak one has one of `FAULTS` an episode and tries once.
    """

    task, memory = "door", DoorState

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: DoorState) -> tuple[np.ndarray, DoorState]:
        rng = self._random(estimate)
        style = state.style or _draw_style(rng, self.kind)
        grip = np.asarray(agent_pos[AGENT_POS["position"]], np.float64)
        state = _remember(replace(state, style=style), grip, estimate)
        turn = float(np.arctan2(estimate[4], estimate[3])) / 2
        lever = yaw_of(agent_pos[AGENT_POS["quaternion"]]) + turn
        along = np.array([np.cos(lever), np.sin(lever), 0.0])
        along *= -np.sign(along[0])  # from the axle to the lever's end: towards the robot
        off = np.array([along[1], -along[0], 0.0])
        state = _next_phase(state, style, _goal(state, style, along, off, grip) - grip, estimate, float(grip[2]))
        action = np.zeros(5)
        if state.phase != style.stall or state.phase_steps < style.stall_after:
            action[:3] = np.clip(GAIN * (_goal(state, style, along, off, grip) - grip), -style.speed, style.speed)
            if state.phase == "press":
                action[2] = -_PRESS
            action[:3] += style.tremor * rng.normal(size=3)
            across = turn % np.pi - np.pi / 2  # the fingers open at right angles to the lever
            action[3] = np.clip(YAW_GAIN * across, -style.speed, style.speed)
        action[4] = -1.0
        return np.clip(action, -1, 1), replace(state, phase_steps=state.phase_steps + 1)


def _draw_style(rng: np.random.Generator, kind: str) -> Style:
    style = Style(
        speed=rng.uniform(0.8, 1.0),
        hover=rng.uniform(0.08, 0.10),
        aim=(rng.normal(scale=0.001), rng.normal(scale=0.001)),
        beyond=rng.uniform(0.15, 0.18),
        pull=rng.uniform(0.8, 1.1) * _PULL,
        pause=int(rng.choice([0, 0, 2, 4])),
        attempts=4,
        tremor=0.04,
    )
    return style if kind == "expert" else _spoil(replace(style, speed=0.9 * style.speed, attempts=1, tremor=0.10), rng)


def _spoil(style: Style, rng: np.random.Generator) -> Style:
    """The style with one fault put in, drawn by the weights of `FAULTS`."""
    fault = drawn_fault(rng, FAULTS)
    if fault == "beside":
        return replace(
            style, aim=[(rng.uniform(0.11, 0.16), 0.0), (0.0, rng.uniform(0.06, 0.10))][int(rng.integers(2))]
        )
    if fault == "shallow":
        return replace(style, beyond=rng.uniform(-0.9, -0.2))
    if fault == "deep":
        return replace(style, beyond=rng.uniform(0.3, 0.5), aim=(rng.uniform(0.02, 0.03), 0.0))
    if fault == "leave":
        return replace(style, leave=int(rng.integers(0, 10)))
    if fault == "stall":
        return replace(style, **drawn_stall(rng, {"rise": 8, "approach": 12, "press": 20, "pull": 10}, "press"))
    return style


def _remember(state: DoorState, grip: np.ndarray, estimate: np.ndarray) -> DoorState:
    """Average the estimates; the place moves with the door, so that the last ones count most."""
    samples = min(state.samples + 1, 4)
    return replace(state, place=averaged(state.place, grip + estimate[:3], samples), samples=samples)


def _goal(state: DoorState, style: Style, along: np.ndarray, off: np.ndarray, grip: np.ndarray) -> np.ndarray:
    """Where the grip point should go in the present phase, base frame [m]."""
    place = np.array(state.place) + style.aim[0] * along + style.aim[1] * off
    if state.phase in ("rise", "retreat"):
        away = grip + (0.05 * off if state.phase == "retreat" else 0.0)
        return np.array([*away[:2], place[2] + style.hover + 0.02])
    if state.phase == "approach":
        return place + [0.0, 0.0, style.hover]
    if state.phase == "press":
        return place
    if 0 <= style.leave <= state.phase_steps:
        return grip + 0.05 * off + [0.0, 0.0, 0.05]
    # Along the lever it keeps its place, or the lever's slope would push it out; away from the door it leads.
    ahead = place + (float((grip - place) @ off) + style.pull) * off
    return np.array([*ahead[:2], state.depth - 0.005])


def _next_phase(state: DoorState, style: Style, way: np.ndarray, estimate: np.ndarray, height: float) -> DoorState:
    """The state with its phase changed where the present one is over."""
    away, steps, phase = np.abs(way), state.phase_steps, state.phase

    def enter(phase: str) -> DoorState:
        return replace(state, phase=phase, phase_steps=0, stuck=0, best=9.0, depth=height)

    if phase == "rise" and (away[2] < 0.03 or steps > 30):
        return enter("approach")
    if phase == "approach" and steps >= style.pause and (away.max() < 0.012 or steps > 35):
        return enter("press")
    if phase == "press" and (estimate[5] < -style.beyond or steps > 34):
        return enter("pull")
    if phase == "pull":
        further = estimate[6] < state.best - 0.01
        state = replace(state, best=min(state.best, float(estimate[6])), stuck=0 if further else state.stuck + 1)
        if state.stuck >= _STUCK_STEPS and state.attempt + 1 < style.attempts:
            return replace(enter("retreat"), attempt=state.attempt + 1)
    if phase == "retreat" and (away[2] < 0.03 or steps > 30):
        return enter("approach")
    return state

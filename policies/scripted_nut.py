"""Scripted policies for `robo_reward/NutAssemblySquare-v0`: an expert with natural variation and a weak one.

The expert feels with its fingers whether it holds the nut, and tries again when it does not. Where the nut lies on the
peg's top or jams around it, the hand stops coming down: then it presses and circles until the nut gives way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.envs.robosuite_arm import AGENT_POS
from robo_reward.policies.scripted_arm import GAIN, YAW_GAIN, GraspMemory, GraspStyle, ScriptedArm, averaged, yaw_of

_HELD_GAP, _ASKEW_GAP = 0.024, 0.042  # [m]; the handle is 3.2 cm wide, empty fingers close further
_CLOSING_STEPS = 8
_SQUARES = (0.0, np.pi / 2, np.pi)  # yaws of the hand in which nut and peg are square, [rad]; it starts at pi / 2
_HALF_NUT = 0.010  # [m]
_PEG, _RETREAT = 0.09, 0.04  # [m] the way down the peg; the way up after letting go
_AROUND = 0.018  # [m] lower than on the peg's top: the nut is around the peg
_PRESS = 0.4  # share of full speed, a force where the nut lies on something
_STUCK = 0.0012  # [m] of descent in a step; less means that the nut lies on something
_CIRCLE_TURN = 0.8  # [rad] a step; a circle of 4 mm at an action of 0.3
_HELD = ("lift", "carry", "lower", "push")
"""Phases in which the fingers stay closed on the nut."""
_FLAWS = {"miss": 0.12, "drop": 0.16, "stall": 0.18, "hover": 0.18, "beside": 0.20, "turned": 0.16}
"""How the weak policy fails, and how often each."""


@dataclass(frozen=True, kw_only=True)
class Style(GraspStyle):
    """How this episode is carried out."""

    margin: float
    """Height of the nut over the peg's top while it is carried [m]."""
    shift: tuple[float, float]
    """Where the nut drifts while it is lowered, from where the peg seems to be [m]."""
    turn: float
    """Yaw of the nut on the peg, away from square [rad]."""
    circling: float
    """Sideways action where the nut does not come down, its sign the sense of the circle; 0 only presses."""
    flaw: str = ""
    """Phase in which it fails: there it lets go (`carry`, `lower`) or stays where it is (`stall`)."""
    stall: bool = False
    flaw_step: int = 0
    """Step of that phase at which it does."""


@dataclass(frozen=True)
class NutState(GraspMemory):
    """Everything the policy remembers of one episode."""

    style: Style | None = None
    nut: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of the handle's estimates so far, base frame [m]; not updated while the fingers are at the handle."""
    goal: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of where the grip point has to be for the nut to lie centred on the peg's top, base frame [m]."""
    goal_samples: int = 0
    side: int = 1
    """Whether the handle points to the left (1) or to the right (-1) of the fingers' opening direction."""
    height: float = 1.0
    """The grip point's height at the last step [m]."""
    stuck: int = 0
    """Steps for which it has not come down."""
    failed: bool = False
    """Whether the flaw has happened, or the last attempt."""


class ScriptedNut(ScriptedArm[NutState]):
    """Approach, descend, close, lift, carry, lower, push; an empty hand opens, rises and tries again.

    The weak one misses the handle, lets go on the way, stalls anywhere, hovers over the peg, lowers the nut beside it
    or turned, and tries once.
    """

    task, memory = "nut", NutState

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: NutState) -> tuple[np.ndarray, NutState]:
        rng = self._random(estimate)
        style = state.style or _draw_style(rng, self.kind)
        grip = np.asarray(agent_pos[AGENT_POS["position"]], np.float64)
        gap = float(agent_pos[AGENT_POS["gap"]][0])
        state = _remember(replace(state, style=style), grip, estimate)
        state = _next_phase(state, style, grip, gap, _turn(agent_pos, estimate, state, style), rng)
        stalled = state.failed and style.stall
        action = np.zeros(5)
        if not stalled:
            action[:3] = np.clip(GAIN * (_goal(state, style, grip) - grip), -style.speed, style.speed)
            action[3] = np.clip(YAW_GAIN * _turn(agent_pos, estimate, state, style), -style.speed, style.speed)
            if state.phase == "push":
                action[2] = -_PRESS
                if state.stuck >= 3:
                    angle = np.copysign(_CIRCLE_TURN * state.phase_steps, style.circling)
                    action[:2] += abs(style.circling) * np.array([np.cos(angle), np.sin(angle)])
        action[:3] += style.tremor * rng.normal(size=3)
        action[4] = 1.0 if state.phase in ("close", *_HELD) and (stalled or not state.failed) else -1.0
        stuck = state.stuck + 1 if state.height - grip[2] < _STUCK else 0
        state = replace(state, phase_steps=state.phase_steps + 1, height=float(grip[2]), stuck=stuck)
        return np.clip(action, -1, 1), state


def _draw_style(rng: np.random.Generator, kind: str) -> Style:
    shared = Style(
        speed=rng.uniform(0.75, 1.0),
        hover=rng.uniform(0.04, 0.07),
        detour=tuple(rng.normal(scale=0.008, size=2).tolist()),
        aim=(*rng.normal(scale=0.002, size=2).tolist(), rng.uniform(-0.002, 0.002)),
        margin=rng.uniform(0.010, 0.030),
        shift=(0.0, 0.0),
        turn=0.0,
        pause=int(rng.choice([0, 0, 2, 4])),
        circling=rng.choice([-1, 1]) * rng.uniform(0.2, 0.4),
        attempts=4,
        tremor=0.05,
    )
    if kind == "expert":
        return shared
    weak = replace(shared, speed=0.9 * shared.speed, circling=0.0, attempts=1, tremor=0.12)
    way = rng.uniform(0, 2 * np.pi)
    beside = np.array([np.cos(way), np.sin(way)])
    flaw = rng.choice(list(_FLAWS), p=list(_FLAWS.values()))
    if flaw == "miss":
        return replace(weak, aim=(*(rng.uniform(0.03, 0.05) * beside).tolist(), rng.uniform(0.0, 0.02)))
    if flaw == "drop":
        return replace(weak, flaw="carry", flaw_step=int(rng.integers(1, 30)))
    if flaw == "stall":
        phase = str(rng.choice(["approach", "descend", "lift", "carry"]))
        return replace(weak, flaw=phase, flaw_step=int(rng.integers(1, 12)), stall=True)
    if flaw == "hover":
        return replace(weak, flaw="lower", stall=True, shift=tuple((rng.uniform(0.0, 0.010) * beside).tolist()))
    if flaw == "beside":
        shift = rng.uniform(0.020, 0.035) * beside
        return replace(weak, flaw="lower", flaw_step=int(rng.integers(2, 7)), shift=tuple(shift.tolist()))
    turn = rng.choice([-1, 1]) * rng.uniform(0.65, 0.85)
    return replace(weak, turn=turn, shift=tuple((0.010 * beside).tolist()))


def _remember(state: NutState, grip: np.ndarray, estimate: np.ndarray) -> NutState:
    """Average the estimates, so that noise goes and the bias stays: the handle's place, or the peg's once held."""
    if state.phase in ("lift", "carry", "lower") and not state.failed:
        # The last steps count most: the nut's centre moves as the hand turns.
        samples = min(state.goal_samples + 1, 8)
        return replace(state, goal=averaged(state.goal, grip + estimate[5:8], samples), goal_samples=samples)
    if state.phase in ("approach", "descend", "recover"):
        samples = min(state.samples + 1, 20)
        nut = averaged(state.nut, grip + estimate[:3], samples)
        return replace(state, nut=nut, samples=samples, side=1 if estimate[4] > 0 else -1)
    return state


def _handle(state: NutState, style: Style) -> np.ndarray:
    """Where the fingers should close."""
    return np.array(state.nut) + style.aim + [*state.correction, 0.0]


def _goal(state: NutState, style: Style, grip: np.ndarray) -> np.ndarray:
    """Where the grip point should go in the present phase, base frame [m]."""
    if state.phase == "approach":
        return _handle(state, style) + [*style.detour, style.hover]
    if state.phase in ("descend", "close"):
        return _handle(state, style)
    if state.phase == "recover":
        return _handle(state, style) + [0.0, 0.0, style.hover]
    over = np.array(state.goal) + [0.0, 0.0, _HALF_NUT + style.margin]
    if state.failed:
        return over + [*style.shift, _RETREAT]
    if state.phase == "lift":
        return np.array([*_handle(state, style)[:2], over[2]])
    if state.phase == "lower":
        return over + [*style.shift, -style.margin - _PEG]
    return over if state.phase == "carry" else grip  # pushing, the peg leads


def _turn(agent_pos: np.ndarray, estimate: np.ndarray, state: NutState, style: Style) -> float:
    """Yaw that the hand still has to turn [rad]: across the handle, or square to the peg once it holds the nut."""
    if state.phase in ("approach", "descend", "recover"):
        cosine, sine = estimate[3:5]
        return float(np.arctan2(-2 * sine * cosine, sine**2 - cosine**2)) / 2
    if state.phase in ("carry", "lower"):
        yaw = yaw_of(agent_pos[AGENT_POS["quaternion"]])
        # Not with the handle pointing away from the robot: the arm is too short to hold it beyond the peg.
        squares = [square for square in _SQUARES if np.cos(square + state.side * np.pi / 2) < 0.5]
        left = (np.array(squares) + style.turn - yaw + np.pi) % (2 * np.pi) - np.pi
        return float(left[np.abs(left).argmin()])
    return 0.0


def _next_phase(
    state: NutState, style: Style, grip: np.ndarray, gap: float, turn: float, rng: np.random.Generator
) -> NutState:
    """The state with its phase changed where the present one is over."""
    steps = state.phase_steps
    if state.failed or (state.phase == style.flaw and steps >= style.flaw_step):
        return replace(state, failed=True)
    away = np.abs(_goal(state, style, grip) - grip)
    sideways, rest = away[:2].max(), steps >= style.pause
    closed = state.phase in _HELD or (state.phase == "close" and steps >= _CLOSING_STEPS)
    lost = closed and (gap < _HELD_GAP or (state.phase == "close" and gap > _ASKEW_GAP))
    if lost and state.attempt + 1 >= style.attempts:
        return replace(_enter(state, "carry" if state.goal_samples else "lift"), failed=True)
    if lost:
        beside = rng.uniform(-0.010, 0.010, 2) if state.phase in ("close", "lift") else np.zeros(2)
        return replace(
            _enter(state, "recover"),
            attempt=state.attempt + 1,
            samples=0,
            goal_samples=0,
            correction=tuple(beside.tolist()),
        )
    if state.phase == "approach" and rest and (away.max() < 0.010 or steps > 60):
        return _enter(state, "descend")
    if state.phase == "descend" and ((sideways < 0.006 and away[2] < 0.004) or steps > 22):
        return _enter(state, "close")
    if state.phase == "close" and steps >= _CLOSING_STEPS:
        return _enter(state, "lift")
    if state.phase == "lift" and steps >= 2 and away[2] < 0.05:
        return _enter(state, "carry")
    if state.phase == "carry" and rest and ((away.max() < 0.005 and abs(turn) < 0.04) or steps > 70):
        return _enter(state, "lower")
    around = grip[2] < state.goal[2] + _HALF_NUT - _AROUND
    if state.phase == "lower" and (around or (state.stuck >= 3 and steps >= 6)):
        return _enter(state, "push")
    if state.phase == "recover" and (away[2] < 0.015 or steps > 25):
        return _enter(state, "approach")
    return state


def _enter(state: NutState, phase: str) -> NutState:
    return replace(state, phase=phase, phase_steps=0, stuck=0)

"""Scripted PegInsertLong policies: they fetch the peg, then insert it as PegInsert's do.

They see what every policy sees, never the simulator's truth. A hand whose fingers close on nothing opens and tries
again, as long as it can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_reward.policies.scripted import STEP, STEP_YAW, PegMemory, ScriptedPeg, insert_action
from robo_reward.policies.scripted_arm import drawn_fault

OPENING = 25
"""Where PegInsertLong's agent_pos keeps a finger's distance from the middle [m]."""
_HELD = 0.006  # [m] of that; the peg keeps a finger at 10 mm, empty ones close further
_CLOSING_STEPS = 9
_CLEAR = 0.012  # [m] of the peg's tip over the mouth before it is carried across
FAULTS = {
    "none": 5,
    "miss": 3,  # the fingers close beside the peg, or push it over
    "high": 2,  # the fingers close over the peg
    "drop": 3,  # the fingers open on the way
    "low": 2,  # the peg is dragged along the table
    "stall": 3,  # the hand stops somewhere for good
    "insert": 6,  # it fetches the peg well and inserts it as PegInsert's weak policy does
}
"""What goes wrong in a weak episode -> its weight."""


@dataclass(frozen=True)
class FetchStyle:
    """How one peg is fetched."""

    speed: float
    """Largest action."""
    hover: float
    """Height of the tool over the peg's tip before it descends [m]; from 25 mm on the fingers clear the peg's top."""
    detour: tuple[float, float]
    """Sideways offset of the hovering point [m]."""
    aim: tuple[float, float]
    """Offset of the grasping point [m]."""
    depth: float
    """Height of the tool over the peg's tip where the fingers close [m]."""
    noise: float
    """Standard deviation of action noise."""
    attempts: int = 4
    clear: float = _CLEAR
    drop: int = -1
    """Step after the grasp at which the fingers open; -1 for never."""
    stall: str = ""
    """Phase in which the hand stops for good; empty for none."""
    stall_after: int = 0
    """Steps into that phase before it does."""


@dataclass(frozen=True)
class LongMemory:
    """One episode's explicit state."""

    style: FetchStyle
    peg: PegMemory
    """Of the insertion, with the episode's randomness."""
    phase: str = "take over"
    """At first whatever the hand is found at: a person takes over a hand that already holds the peg, too."""
    steps: int = 0
    """In the phase."""
    attempt: int = 0


class ScriptedPegLong:
    """Approach, descend, close, lift, insert; `kind="expert"` succeeds nearly always, `kind="weak"` mostly fails."""

    def __init__(self, kind: str = "expert", seed: int = 0):
        self._peg = ScriptedPeg("expert", seed)
        self._weak_peg = ScriptedPeg("weak", seed + 1)
        if kind not in ("expert", "weak"):
            raise ValueError(f"scripted policy {kind!r} is unknown; choose expert or weak")
        self.kind, self.policy_id = kind, f"scripted-peg-long-{kind}"

    def initial_state(self, batch: int) -> list[LongMemory]:
        """A fresh style for each of `batch` episodes."""
        return [self._draw(peg, weak) for peg, weak in
                zip(self._peg.initial_state(batch), self._weak_peg.initial_state(batch), strict=True)]  # fmt: skip

    def _draw(self, peg: PegMemory, weak: PegMemory) -> LongMemory:
        rng = peg.rng
        style = FetchStyle(
            speed=rng.uniform(0.7, 1.0),
            hover=rng.uniform(0.045, 0.065),
            detour=(rng.normal(scale=0.006), rng.normal(scale=0.006)),
            aim=(rng.normal(scale=0.001), rng.normal(scale=0.001)),
            depth=rng.uniform(0.007, 0.012),
            noise=rng.uniform(0.02, 0.08),
        )
        if self.kind == "expert":
            return LongMemory(style, peg)
        fault = drawn_fault(rng, FAULTS)
        style = replace(style, attempts=1, noise=rng.uniform(0.08, 0.15))
        if fault == "insert":
            return LongMemory(style, weak)
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.05)
        if fault == "miss":
            style = replace(style, aim=(float(reach * np.cos(angle)), float(reach * np.sin(angle))))
        elif fault == "high":
            style = replace(style, depth=rng.uniform(0.026, 0.05))
        elif fault == "drop":
            style = replace(style, drop=int(rng.integers(1, 40)))
        elif fault == "low":
            style = replace(style, clear=rng.uniform(-0.038, -0.01))
        elif fault == "stall":
            phase = str(rng.choice(["approach", "descend", "lift", "insert", "insert"]))
            latest = {"approach": 25, "descend": 8, "lift": 5, "insert": 30}[phase]
            style = replace(style, stall=phase, stall_after=int(rng.integers(latest)))
        return LongMemory(style, peg)

    def phase(self, state: list[LongMemory]) -> np.ndarray:
        """Nothing (B, 0): a script's memory says nothing that a learner could use."""
        return np.zeros((len(state), 0), np.float32)

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[LongMemory]
    ) -> tuple[np.ndarray, list[LongMemory]]:
        """Actions dx, dy, dz, dyaw, gripper in [-1, 1] for each episode."""
        pairs = [_act(a, e, m) for a, e, m in zip(agent_pos_BP, estimate_BE, state, strict=True)]
        return np.stack([action for action, _ in pairs]), [memory for _, memory in pairs]


def _act(agent_pos: np.ndarray, estimate: np.ndarray, memory: LongMemory) -> tuple[np.ndarray, LongMemory]:
    style, rng = memory.style, memory.peg.rng
    if memory.phase == "take over":
        memory = replace(memory, phase="lift" if _in_hand(agent_pos, estimate) else "approach")
    way, over = _way(agent_pos, estimate, memory), float(estimate[9])
    memory = _next_phase(memory, way, float(agent_pos[OPENING]), over)
    way, action = _way(agent_pos, estimate, memory), np.zeros(5)
    holding = memory.phase in ("close", "lift", "insert")
    dropping = memory.phase in ("lift", "insert") and 0 <= style.drop <= memory.steps + 5 * (memory.phase == "insert")
    if memory.phase == style.stall and memory.steps >= style.stall_after:
        pass
    elif memory.phase == "insert":
        action[:4], peg = insert_action(agent_pos, estimate, memory.peg)
        if over < style.clear - 0.006 and np.hypot(*estimate[7:9]) > 0.045:  # beside the socket: over it first
            action[:3] = [0.0, 0.0, 0.6]
        memory = replace(memory, peg=peg)
    else:
        action[:3] = 0.6 * way / STEP
        action[:3] /= max(np.abs(action[:3]).max() / style.speed, 1.0)
        if memory.phase in ("approach", "descend"):
            action[3] = 0.5 * estimate[6] / STEP_YAW
        action[:4] += style.noise * rng.normal(size=4) * [1, 1, 1, 0.5]
    action[4] = 1.0 if holding and not dropping else -1.0
    return np.clip(action, -1.0, 1.0).astype(np.float32), replace(memory, steps=memory.steps + 1)


def _in_hand(agent_pos: np.ndarray, estimate: np.ndarray) -> bool:
    closed = _HELD < agent_pos[OPENING] < 0.013
    return bool(closed and np.hypot(*estimate[4:6]) < 0.012 and abs(estimate[16]) < 0.022)


def _way(agent_pos: np.ndarray, estimate: np.ndarray, memory: LongMemory) -> np.ndarray:
    """Way that the tool still has to go in the present phase, base frame [m]."""
    style, yaw = memory.style, float(agent_pos[12])
    if memory.phase in ("lift", "insert"):
        return np.array([0.0, 0.0, style.clear + 0.01 - estimate[9]])
    c, s = np.cos(yaw), np.sin(yaw)
    tip = np.array([c * estimate[4] - s * estimate[5], s * estimate[4] + c * estimate[5], estimate[16]])
    aim = np.array([*style.aim, style.depth])
    if memory.phase == "approach":
        return tip + aim + [*style.detour, style.hover - style.depth]
    return tip + aim


def _next_phase(memory: LongMemory, way: np.ndarray, opening: float, over: float) -> LongMemory:
    """The memory with its phase changed where the present one is over."""
    away, steps, phase = np.abs(way), memory.steps, memory.phase

    def enter(phase: str) -> LongMemory:
        return replace(memory, phase=phase, steps=0)

    empty = opening < _HELD and (phase in ("lift", "insert") or (phase == "close" and steps >= _CLOSING_STEPS))
    if empty and memory.attempt + 1 < memory.style.attempts:
        return replace(enter("open"), attempt=memory.attempt + 1)
    if phase == "open" and opening > 0.03:
        return enter("approach")
    if phase == "approach" and (away.max() < 0.012 or steps > 70):
        return enter("descend")
    if phase == "descend" and (away.max() < 0.004 or steps > 25):
        return enter("close")
    if phase == "close" and steps >= _CLOSING_STEPS:
        return enter("lift")
    if phase == "lift" and (over > memory.style.clear or steps > 15):
        return enter("insert")
    return memory

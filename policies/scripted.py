"""Scripted PegInsert policies: an expert that feels its way in, and weaker ones that fail as real policies do.

They see what every policy sees (joints, pose, wrench, noisy estimate), never the simulator's truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

WRENCH = slice(13, 19)
"""Where PegInsert's agent_pos keeps the wrench."""
STIFFNESS = 2500.0
"""Of PegInsert's impedance [N/m]."""
STEP, STEP_YAW = 0.010, 0.08
"""Action units of PegInsert: [m] and [rad] per action of 1."""


@dataclass(frozen=True)
class PegStyle:
    """How one episode is driven; drawn anew per episode, so demonstrations vary as people do."""

    speed: float = 0.9
    """Largest sideways and downward action while approaching, in action units."""
    hover: float = 0.015
    """Height over the mouth [m] at which it lines up before descending."""
    press: float = 6.0
    """Contact force it aims at [N]."""
    lean: float = 0.0018
    """How far the target leads the peg sideways while searching [m]."""
    noise: float = 0.05
    """Standard deviation of action noise."""
    aim: tuple[float, float] = (0.0, 0.0)
    """A constant error of the aim [m]: what weak policies have."""
    feels: bool = True
    """Whether it searches at all when the peg stands on the rim."""
    wrong_socket: bool = False
    pause: int = 0
    """Steps spent still somewhere on the way."""
    give_up: int = 10_000
    """Step after which it lifts off and drifts away."""


@dataclass(frozen=True)
class PegMemory:
    """One episode's explicit state."""

    style: PegStyle
    rng: np.random.Generator
    step: int = 0
    correction: tuple[float, float] = (0.0, 0.0)
    """Where contact told it the hole is, relative to the estimate [m, base frame]."""
    searching: int = 0
    retreat: int = 0


class ScriptedPeg:
    """`kind="expert"` succeeds nearly always; `kind="weak"` mostly fails: blind, badly aimed, giving up, shaking, or
    heading for the wrong socket."""

    def __init__(self, kind: str = "expert", seed: int = 0):
        if kind not in ("expert", "weak"):
            raise ValueError(f"scripted policy {kind!r} is unknown; choose expert or weak")
        self.kind, self.policy_id = kind, f"scripted-peg-{kind}"
        self._seeds = np.random.default_rng(seed)

    def initial_state(self, batch: int) -> list[PegMemory]:
        """A fresh style for each of `batch` episodes."""
        memories = []
        for _ in range(batch):
            rng = np.random.default_rng(int(self._seeds.integers(2**63)))
            memories.append(PegMemory(self._draw_style(rng), rng))
        return memories

    def _draw_style(self, rng: np.random.Generator) -> PegStyle:
        style = PegStyle(
            speed=rng.uniform(0.6, 1.0),
            hover=rng.uniform(0.008, 0.022),
            press=rng.uniform(5.0, 8.0),
            lean=rng.uniform(0.0014, 0.0024),
            noise=rng.uniform(0.02, 0.08),
            pause=int(rng.integers(0, 6)) if rng.random() < 0.2 else 0,
        )
        if self.kind == "expert":
            return style
        fault = rng.integers(5)
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.004, 0.022)
        aim = (float(reach * np.cos(angle)), float(reach * np.sin(angle)))
        if fault == 0:
            return replace(style, feels=False)
        if fault == 1:
            return replace(style, feels=False, aim=aim)
        if fault == 2:
            return replace(style, give_up=int(rng.integers(15, 50)), feels=bool(rng.integers(2)))
        if fault == 3:
            return replace(style, wrong_socket=True)
        return replace(style, noise=rng.uniform(0.3, 0.8), aim=aim, feels=False, pause=int(rng.integers(0, 40)))

    def phase(self, state: list[PegMemory]) -> np.ndarray:
        """Nothing (B, 0): a script's memory says nothing that a learner could use."""
        return np.zeros((len(state), 0), np.float32)

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[PegMemory]
    ) -> tuple[np.ndarray, list[PegMemory]]:
        """Actions dx, dy, dz, dyaw in [-1, 1] for each episode."""
        pairs = [insert_action(a, e, m) for a, e, m in zip(agent_pos_BP, estimate_BE, state, strict=True)]
        return np.stack([action for action, _ in pairs]), [memory for _, memory in pairs]


def insert_action(agent_pos: np.ndarray, estimate: np.ndarray, memory: PegMemory) -> tuple[np.ndarray, PegMemory]:
    """One episode's action (4) and next memory, by the columns of PegInsert's observation."""
    style, rng = memory.style, memory.rng
    wrench = agent_pos[WRENCH]
    c, s = np.cos(estimate[3]), np.sin(estimate[3])
    seen = np.array([c * estimate[7] - s * estimate[8], s * estimate[7] + c * estimate[8]])
    """Estimated tip minus mouth, base frame [m]."""
    height, yaw_error = float(estimate[9]), float(estimate[10])
    if style.wrong_socket:  # the other socket stands mirrored about the table's middle line, roughly
        seen = seen + np.array([0.0, 2 * estimate[1]])
    away = seen - np.array(memory.correction) - np.array(style.aim)
    action = np.zeros(4)
    action[3] = -0.5 * yaw_error / STEP_YAW
    correction, searching, retreat = np.array(memory.correction), memory.searching, memory.retreat
    sideways = float(np.hypot(*away))
    pressing = wrench[2] > 2.0
    if memory.step >= style.give_up:
        action[:3] = [0.3 * np.sin(memory.step / 7), 0.3 * np.cos(memory.step / 9), 0.5 if height < 0.05 else 0.0]
    elif 20 <= memory.step < 20 + style.pause:
        action[:] = 0.0
    elif retreat > 0:
        action[:3] = [*(-0.3 * away / STEP), 0.6]
        retreat -= 1
    elif height < -0.004:
        # In the hole: give way sideways and in yaw, push down, shake a little when it sticks.
        shake = 0.25 * rng.normal(size=2) if wrench[2] > 8.0 else np.zeros(2)
        action[:3] = [*shake, -0.6 * style.speed]
        action[3] = 0.0
    elif pressing and height < 0.006:
        searching += 1
        action[2] = -style.press / STIFFNESS / STEP
        if style.feels:
            felt = estimate[14:16]
            # The rim pushes where the peg overlaps it: the hole lies the other way. Lean that way gently, so that it
            # creeps and does not run past the hole.
            lean = -style.lean * np.clip(felt / 0.004, -1, 1)
            stray = seen - np.array(style.aim)
            if np.hypot(*stray) > 0.005:  # further than the estimate can be wrong
                lean -= style.lean * stray / np.hypot(*stray)
            action[:2] = lean / STEP
            correction = stray
        if searching > 30 and style.feels:
            retreat, searching = int(rng.integers(3, 6)), 0
            correction = rng.uniform(-0.003, 0.003, 2)
    else:
        action[:2] = -0.6 * away / STEP
        if sideways > 0.004 + 0.3 * max(height - style.hover, 0):
            action[2] = (style.hover - height) / STEP * 0.5
        else:
            action[2] = -min(style.speed, max(0.25, 0.5 * height / STEP))
        limit = max(np.abs(action[:3]).max() / style.speed, 1.0)
        action[:3] /= limit
    action += rng.normal(size=4) * style.noise * [1, 1, 1, 0.5]
    new = replace(memory, step=memory.step + 1, correction=(float(correction[0]), float(correction[1])),
                  searching=searching, retreat=retreat)  # fmt: skip
    return np.clip(action, -1.0, 1.0).astype(np.float32), new

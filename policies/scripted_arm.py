"""What the scripted policies of the robosuite tasks share: memory passed along, one episode at a time, own randomness.

They see what a policy may see: proprioception and the biased estimate, never the truth. Four of them grasp something:
their styles and memories begin alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Float32

KINDS = ("expert", "weak")
GAIN, YAW_GAIN = 35.0, 6.0
"""[1/m], [1/rad]: 3 cm away or more is full speed."""
Memory = TypeVar("Memory")


@dataclass(frozen=True, kw_only=True)
class GraspStyle:
    """How an episode's grasp is carried out, drawn once from the policy's seed and the first observation."""

    speed: float
    """Share of full speed, (0, 1]."""
    hover: float
    """Height over the object before descending [m]."""
    detour: tuple[float, float]
    """Sideways offset of the hovering point [m]."""
    aim: tuple[float, float, float]
    """Offset of the grasping point [m]."""
    pause: int
    """Steps of rest before descending."""
    early: float = 0.0
    """Height over the grasping point at which the fingers close on the first attempt [m]; 0 for a clean grasp."""
    attempts: int
    """Grasps tried before giving up."""
    tremor: float
    """Standard deviation of the noise added to the translation, in action units."""

    def closing_height(self, attempt: int) -> float:
        """Height over the grasping point at which the fingers close on this attempt, from 0 [m]."""
        return self.early if attempt == 0 else 0.0


@dataclass(frozen=True)
class GraspMemory:
    """What a script that grasps remembers of one episode, whatever it does with the object."""

    phase: str = "approach"
    phase_steps: int = 0
    attempt: int = 0
    samples: int = 0
    """Estimates of the object that its mean is of."""
    correction: tuple[float, float] = (0.0, 0.0)
    """Where to look for the object after a miss [m]."""


class ScriptedArm(Generic[Memory]):
    """A script of one task: a subclass names `task` and `memory` and says what one episode does, in `_act_one`.

    Args:
        kind: `expert`, or `weak`, which mostly fails.
        seed: chooses, together with what is seen, how an episode is carried out.
    """

    task: ClassVar[str]
    memory: type[Any]
    """Frozen dataclass of everything that is remembered of one episode; its defaults are the start."""

    def __init__(self, kind: str = "expert", seed: int = 0) -> None:
        if kind not in KINDS:
            raise ValueError(f"scripted policy {kind!r} is unknown; choose expert or weak")
        self.kind, self.seed = kind, int(seed)
        self.policy_id = f"scripted-{self.task}-{kind}"

    def initial_state(self, batch: int) -> list[Memory]:
        """One fresh memory per episode."""
        return [self.memory() for _ in range(batch)]

    def phase(self, state: list[Memory]) -> np.ndarray:
        """Nothing (B, 0): a script's memory says nothing that a learner could use."""
        return np.zeros((len(state), 0), np.float32)

    def act(
        self,
        agent_pos_BP: Float32[np.ndarray, "B 26"],
        estimate_BE: Float32[np.ndarray, "B E"],
        state: list[Memory],
    ) -> tuple[Float32[np.ndarray, "B 5"], list[Memory]]:
        """Actions dx, dy, dz, dyaw, gripper in [-1, 1] and the next state; the given state is left as it is."""
        if not len(agent_pos_BP) == len(estimate_BE) == len(state):
            raise ValueError(
                f"{len(agent_pos_BP)} agent_pos, {len(estimate_BE)} estimates, {len(state)} states: need equal numbers"
            )
        answers = [self._act_one(*one) for one in zip(agent_pos_BP, estimate_BE, state, strict=True)]
        actions = np.array([action for action, _ in answers], np.float32).reshape(-1, 5)
        return actions, [after for _, after in answers]

    def _act_one(self, agent_pos: np.ndarray, estimate: np.ndarray, state: Memory) -> tuple[np.ndarray, Memory]:
        """Action (5) and next memory of one episode."""
        raise NotImplementedError

    def _random(self, estimate: np.ndarray) -> np.random.Generator:
        """Randomness of this seed and this observation, so that the same episode is carried out the same way."""
        return np.random.default_rng([self.seed, *np.ascontiguousarray(estimate, np.float32).view(np.uint32).tolist()])


def drawn_fault(rng: np.random.Generator, faults: Mapping[str, int]) -> str:
    """One of the faults, by their weights."""
    weights = np.array(list(faults.values()), float)
    return str(rng.choice(list(faults), p=weights / weights.sum()))


def drawn_stall(rng: np.random.Generator, latest: Mapping[str, int], likely: str) -> dict[str, Any]:
    """Fields of a style whose hand stops for good: `stall`, the phase, and `stall_after`, the steps into it.

    latest: phase -> steps into it before which it stops; likely: the phase that counts twice.
    """
    stall = str(rng.choice([*latest, likely]))
    return {"stall": stall, "stall_after": int(rng.integers(latest[stall]))}


def yaw_of(quaternion: np.ndarray) -> float:
    """Yaw of a rotation w, x, y, z [rad]."""
    w, x, y, z = np.asarray(quaternion, np.float64)
    return float(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))


def averaged(mean: Sequence[float], seen: np.ndarray, samples: int) -> tuple[float, ...]:
    """A mean that moves by a share of 1 / `samples` to what was seen."""
    return tuple((np.array(mean) + (seen - mean) / samples).tolist())

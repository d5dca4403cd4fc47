"""What the scripted policies of the robosuite tasks share: memory passed along, one episode at a time, own randomness.

They see what a policy may see: proprioception and the biased estimate, never the truth.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Float32

KINDS = ("expert", "weak")
Memory = TypeVar("Memory")


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

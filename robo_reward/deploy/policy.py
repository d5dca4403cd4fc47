"""The trained policy on the robot's computer: numpy and onnxruntime, no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robo_reward.deploy.sessions import open_session, read_description
from robo_reward.policies.inputs import policy_input

DESCRIPTION, GRAPH = "policy.json", "policy.onnx"
Memory = tuple[np.ndarray, int]
"""The base's chunk (chunk, A), and how many of its actions are used up."""


class ExportedPolicy:
    """Base and residual from an exported folder; implements `robo_reward.interfaces.Policy`.

    Actions are those of the deployed policy without the dither that evaluation adds (`dither` in the description).

    Args:
        folder: what `robo-reward export to=FOLDER` wrote.

    Raises:
        FileNotFoundError: no policy there.
        ValueError: the files do not belong together.
    """

    def __init__(self, folder: str | Path):
        self.description = read_description(Path(folder), DESCRIPTION)
        self.shape = self.description["shape"]
        self._session = open_session(Path(folder) / GRAPH, self.description["onnx_sha256"])
        self.policy_id = f"exported-{self.description['onnx_sha256'][:12]}"

    def initial_state(self, batch: int) -> list[Memory]:
        """No plan: the first action of an episode comes from a fresh chunk."""
        return [(np.zeros((self.shape["chunk"], self.shape["actions"]), np.float32), 0)] * batch

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[Memory]
    ) -> tuple[np.ndarray, list[Memory]]:
        """The next action of each episode (B, A) in [-1, 1]. Raises ValueError for sizes or values it cannot take."""
        for name, given in (("agent_pos", agent_pos_BP), ("estimate", estimate_BE)):
            if np.shape(given) != (len(state), self.shape[name]):
                raise ValueError(
                    f"{name} has shape {np.shape(given)}, the exported policy takes ({len(state)}, {self.shape[name]}):"
                    " it was trained for another robot or observation"
                )
        policy_input(agent_pos_BP, estimate_BE, self.shape["columns"])  # refuses what is not finite
        feed = {
            "agent_pos": np.asarray(agent_pos_BP, np.float32),
            "estimate": np.asarray(estimate_BE, np.float32),
            "plan": np.stack([plan for plan, _ in state]),
            "step": np.array([step for _, step in state], np.int64),
        }
        action, plans, steps = self._session.run(["action", "next_plan", "next_step"], feed)
        return action, [(plan, int(step)) for plan, step in zip(plans, steps, strict=True)]

    def phase(self, state: list[Memory]) -> np.ndarray:
        """Which step of its chunk each episode is at, one-hot (B, chunk)."""
        return np.eye(self.shape["chunk"], dtype=np.float32)[[step for _, step in state]]

"""Behaviour cloning: a small network that predicts a chunk of actions, executed open loop until it is used up.

The default base policy of an experiment. It is weak for honest reasons: few demonstrations, noisy inputs, and blind
between two chunks, so it cannot feel its way as the expert does. Once trained it is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from robo_reward.learning.networks import mlp
from robo_reward.learning.weights import digest_of, load_weights, save_weights
from robo_reward.policies.inputs import policy_input
from robo_reward.types import Episode


@dataclass(frozen=True)
class CloningSettings:
    """What the network is and how it is trained."""

    chunk: int = 8
    """Actions predicted and executed per query of the network."""
    hidden: int = 256
    steps: int = 3000
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Queue:
    """One episode's explicit state: the chunk's actions not yet executed."""

    actions: np.ndarray


class ClonedPolicy:
    """Chunked behaviour cloning; implements `robo_reward.interfaces.Policy`."""

    def __init__(
        self,
        network: nn.Module,
        mean: np.ndarray,
        std: np.ndarray,
        chunk: int,
        action_size: int,
        columns: tuple[int, ...] | None = None,
    ):
        self.network, self.mean, self.std, self.columns = network.eval(), mean, std, columns
        self.chunk, self.action_size = chunk, action_size
        self.policy_id = f"cloning-{digest_of(network.state_dict())[:12]}"

    def initial_state(self, batch: int) -> list[Queue]:
        """Empty queues: the first action of an episode always comes from a fresh chunk."""
        return [Queue(np.zeros((0, self.action_size), np.float32))] * batch

    def act(
        self, agent_pos_BP: np.ndarray, estimate_BE: np.ndarray, state: list[Queue]
    ) -> tuple[np.ndarray, list[Queue]]:
        """The next queued action of each episode, refilling empty queues from the network."""
        empty = [index for index, queue in enumerate(state) if len(queue.actions) == 0]
        queues = [queue.actions for queue in state]
        if empty:
            inputs = policy_input(agent_pos_BP[empty], estimate_BE[empty], self.columns)
            with torch.no_grad():
                chunks = self.network(torch.from_numpy((inputs - self.mean) / self.std)).numpy()
            for index, chunk in zip(empty, chunks.reshape(len(empty), self.chunk, self.action_size), strict=True):
                queues[index] = np.clip(chunk, -1.0, 1.0)
        return np.stack([queue[0] for queue in queues]), [Queue(queue[1:]) for queue in queues]

    def phase(self, state: list[Queue]) -> np.ndarray:
        """Which step of its chunk each episode is at, one-hot (B, chunk): 0 before a fresh chunk."""
        return np.eye(self.chunk, dtype=np.float32)[[-len(queue.actions) % self.chunk for queue in state]]

    def save(self, folder: Path) -> None:
        """Weights as safetensors, the rest as JSON with the weights' sha256."""
        header = {
            "chunk": self.chunk,
            "action_size": self.action_size,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "columns": self.columns,
        }
        save_weights(folder / "policy", self.network.state_dict(), header)

    @classmethod
    def load(cls, folder: Path) -> ClonedPolicy:
        """Read what `save` wrote; ValueError when the weights are not those of the header."""
        weights, header = load_weights(folder / "policy")
        mean, std = np.asarray(header["mean"], np.float32), np.asarray(header["std"], np.float32)
        hidden, inputs = weights["0.weight"].shape
        network = mlp(inputs, hidden, header["chunk"] * header["action_size"])
        network.load_state_dict(weights)
        columns = header["columns"]
        columns = None if columns is None else tuple(columns)
        return cls(network, mean, std, header["chunk"], header["action_size"], columns)


def train_cloning(
    episodes: list[Episode], settings: CloningSettings, columns: tuple[int, ...] | None = None
) -> tuple[ClonedPolicy, dict[str, float]]:
    """Fit a chunked policy to the executed actions of `episodes` (mean absolute error, AdamW, cosine decay).

    `columns` of the policy's input are used, default all (see `policy_input`).
    """
    if not episodes:
        raise ValueError("no demonstrations to clone; collect some first")
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    inputs, targets, known = [], [], []
    for episode in episodes:
        inputs.append(policy_input(episode.agent_pos[:-1], episode.estimate[:-1], columns))
        steps = np.arange(len(episode))[:, None] + np.arange(settings.chunk)
        targets.append(episode.action[np.minimum(steps, len(episode) - 1)])
        known.append(steps < len(episode))
    inputs_ND = np.concatenate(inputs)
    mean, std = inputs_ND.mean(0), inputs_ND.std(0) + 1e-4
    x = torch.from_numpy((inputs_ND - mean) / std)
    y, mask = torch.from_numpy(np.concatenate(targets)), torch.from_numpy(np.concatenate(known))[..., None]
    action_size = y.shape[-1]
    network = mlp(x.shape[1], settings.hidden, settings.chunk * action_size)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    loss = torch.zeros(())
    for _ in range(settings.steps):
        rows = torch.randint(len(x), (settings.batch,), generator=generator)
        predicted = network(x[rows]).view(-1, settings.chunk, action_size)
        loss = ((predicted - y[rows]).abs() * mask[rows]).sum() / (mask[rows].sum() * action_size)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    policy = ClonedPolicy(network, mean, std, settings.chunk, action_size, columns)
    return policy, {"cloning_loss": float(loss.detach()), "demonstrations": len(episodes), "frames": len(x)}

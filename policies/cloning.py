"""Behaviour cloning: a small network that predicts a chunk of actions, executed open loop until it is used up.

The default base policy of an experiment. It is weak for honest reasons: few demonstrations, noisy inputs, and blind
between two chunks, so it cannot feel its way as the expert does. Once trained it is frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from robo_reward.learning.networks import mlp
from robo_reward.learning.weights import digest_of, load_weights, save_weights
from robo_reward.policies.chunks import ChunkedPolicy, Seen
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


class ClonedPolicy(ChunkedPolicy):
    """Chunked behaviour cloning; implements `robo_reward.interfaces.Policy`."""

    def __init__(
        self,
        network: nn.Module,
        mean: np.ndarray,
        std: np.ndarray,
        chunk: int,
        action_size: int,
        columns: tuple[int, ...] | None = None,
        ensemble: float | None = None,
    ):
        self.network, self.mean, self.std, self.columns = network.eval(), mean, std, columns
        policy_id = f"cloning-{digest_of(network.state_dict())[:12]}"
        super().__init__(self._chunks, policy_id, chunk, action_size, ensemble=ensemble)

    def _chunks(self, seen: Sequence[tuple[Seen, ...]]) -> np.ndarray:
        newest = [episode[-1] for episode in seen]
        agent_pos, estimate = np.stack([s.agent_pos for s in newest]), np.stack([s.estimate for s in newest])
        inputs = policy_input(agent_pos, estimate, self.columns)
        with torch.no_grad():
            chunks = self.network(torch.from_numpy((inputs - self.mean) / self.std)).numpy()
        return chunks.reshape(len(seen), self.chunk, self.action_size)

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
    def load(cls, folder: Path, ensemble: float | None = None) -> ClonedPolicy:
        """Read what `save` wrote; ValueError when the weights are not those of the header."""
        weights, header = load_weights(folder / "policy")
        mean, std = np.asarray(header["mean"], np.float32), np.asarray(header["std"], np.float32)
        hidden, inputs = weights["0.weight"].shape
        network = mlp(inputs, hidden, header["chunk"] * header["action_size"])
        network.load_state_dict(weights)
        columns = header["columns"]
        columns = None if columns is None else tuple(columns)
        return cls(network, mean, std, header["chunk"], header["action_size"], columns, ensemble)


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
        inputs.append(policy_input(episode.agent_pos[:-1], episode.perceived[:-1], columns))
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

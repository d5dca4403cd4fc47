"""Networks of the learner: plain MLPs, and an ensemble of critics evaluated as one batched product."""

from __future__ import annotations

import math

import torch
from torch import nn


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with layer norm: (B, inputs) -> (B, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, outputs),
    )  # fmt: skip


class EnsembleLinear(nn.Module):
    """N independent linear layers as one batched product: (N, B, in) -> (N, B, out)."""

    def __init__(self, heads: int, inputs: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, outputs).uniform_(-bound, bound))

    def forward(self, x_NBI: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x_NBI, self.weight)


class EnsembleNorm(nn.Module):
    """Layer norm over features with a scale and shift per head."""

    def __init__(self, heads: int, size: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, size))
        self.shift = nn.Parameter(torch.zeros(heads, 1, size))

    def forward(self, x_NBH: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift, torch.nn.functional.layer_norm(x_NBH, x_NBH.shape[-1:]), self.scale)


class EnsembleCritic(nn.Module):
    """N critics Q(s, a): inputs (B, S) and (B, A) -> (N, B). LayerNorm after each hidden layer (RLPD)."""

    def __init__(self, heads: int, inputs: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.layers = nn.Sequential(
            EnsembleLinear(heads, inputs, hidden), EnsembleNorm(heads, hidden), nn.ReLU(),
            EnsembleLinear(heads, hidden, hidden), EnsembleNorm(heads, hidden), nn.ReLU(),
            EnsembleLinear(heads, hidden, 1),
        )  # fmt: skip

    def forward(self, state_BS: torch.Tensor, action_BA: torch.Tensor) -> torch.Tensor:
        x = torch.cat([state_BS, action_BA], dim=-1)
        return self.layers(x.expand(self.heads, -1, -1)).squeeze(-1)


class ResidualActor(nn.Module):
    """Residual pi(s, a_base) in [-1, 1]; the last layer starts at zero, so training starts from the base policy."""

    def __init__(self, state_size: int, action_size: int, hidden: int):
        super().__init__()
        self.layers = mlp(state_size + action_size, hidden, action_size)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(torch.cat([state_BS, base_BA], dim=-1)))

"""Networks of the learner: plain MLPs, and an ensemble of critics evaluated as one batched product."""

from __future__ import annotations

import math

import torch
from torch import nn


def mlp(inputs: int, hidden: int, outputs: int, norm: bool = True) -> nn.Sequential:
    """Two hidden layers, with layer norm unless `norm` is False: (B, inputs) -> (B, outputs)."""
    layers = [
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, outputs),
    ]  # fmt: skip
    return nn.Sequential(*(layer for layer in layers if norm or not isinstance(layer, nn.LayerNorm)))


class EnsembleLinear(nn.Module):
    """N independent linear layers as one batched product: (N, B, in) -> (N, B, out)."""

    def __init__(self, heads: int, inputs: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, outputs).uniform_(-bound, bound))

    def forward(self, x_NBI: torch.Tensor, heads: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        return torch.baddbmm(self.bias[heads], x_NBI, self.weight[heads])


class EnsembleNorm(nn.Module):
    """Layer norm over features with a scale and shift per head."""

    def __init__(self, heads: int, size: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, size))
        self.shift = nn.Parameter(torch.zeros(heads, 1, size))

    def forward(self, x_NBH: torch.Tensor, heads: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        normed = torch.nn.functional.layer_norm(x_NBH, x_NBH.shape[-1:])
        return torch.addcmul(self.shift[heads], normed, self.scale[heads])


class EnsembleCritic(nn.Module):
    """N critics Q(s, a): inputs (B, S) and (B, A) -> (N, B). LayerNorm after each hidden layer (RLPD).

    `norm` False leaves it out: a control.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, norm: bool = True):
        super().__init__()
        self.heads = heads
        layers = [
            EnsembleLinear(heads, inputs, hidden), EnsembleNorm(heads, hidden), nn.ReLU(),
            EnsembleLinear(heads, hidden, hidden), EnsembleNorm(heads, hidden), nn.ReLU(),
            EnsembleLinear(heads, hidden, 1),
        ]  # fmt: skip
        self.layers = nn.ModuleList(layer for layer in layers if norm or not isinstance(layer, EnsembleNorm))

    def forward(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, heads: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values of all heads, or only of those in `heads` (n,): (n, B)."""
        count, chosen = (self.heads, slice(None)) if heads is None else (len(heads), heads)
        x = torch.cat([state_BS, action_BA], dim=-1).expand(count, -1, -1)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, nn.ReLU) else layer(x, chosen)
        return x.squeeze(-1)


class ResidualActor(nn.Module):
    """Residual pi(s, a_base) in [-1, 1]; the last layer starts at zero, so training starts from the base policy."""

    def __init__(self, state_size: int, action_size: int, hidden: int, norm: bool = True):
        super().__init__()
        self.layers = mlp(state_size + action_size, hidden, action_size, norm)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layers(torch.cat([state_BS, base_BA], dim=-1)))

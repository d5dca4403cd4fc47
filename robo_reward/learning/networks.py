"""Networks of the learner: a plain MLP; critics and actor, which are ensembles of it."""

from __future__ import annotations

import torch
from torch import nn

from robo_reward.learning.ensemble import EnsembleMLP


def mlp(inputs: int, hidden: int, outputs: int, norm: bool = True) -> nn.Sequential:
    """Two hidden layers, with layer norm unless `norm` is False: (B, inputs) -> (B, outputs)."""
    layers = [
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        nn.Linear(hidden, outputs),
    ]  # fmt: skip
    return nn.Sequential(*(layer for layer in layers if norm or not isinstance(layer, nn.LayerNorm)))


class EnsembleCritic(nn.Module):
    """N critics Q(s, a): inputs (B, S) and (B, A) -> (N, B). LayerNorm after each hidden layer (RLPD).

    `norm` False leaves it out: a control. `rough`: see `EnsembleMLP`.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, norm: bool = True, rough: bool = False):
        super().__init__()
        self.mlp = EnsembleMLP(heads, inputs, hidden, 1, norm, rough)

    def forward(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, heads: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values of all heads, or only of those in `heads` (n,): (n, B)."""
        return self.mlp(torch.cat([state_BS, action_BA], dim=-1), heads).squeeze(-1)


class ResidualActor(nn.Module):
    """Residual pi(s, a_base) in [-1, 1]; the last layer starts at zero, so training starts from the base policy."""

    def __init__(self, state_size: int, action_size: int, hidden: int, norm: bool = True, rough: bool = False):
        super().__init__()
        self.mlp = EnsembleMLP(1, state_size + action_size, hidden, action_size, norm, rough)
        views = self.mlp.views(self.mlp.flat.detach())
        for part in (views.weight_NOH, views.bias_N1O):
            part.zero_()

    def forward(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.mlp(torch.cat([state_BS, base_BA], dim=-1)).squeeze(0))

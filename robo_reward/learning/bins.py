"""Critics that say how likely each value is, not only the value: a histogram trained by cross-entropy.

The target becomes a Gaussian's mass in every bin (HL-Gauss, arXiv 2403.03950), so its size no longer sets the size of
the gradient.
"""

from __future__ import annotations

import torch
from torch import nn

from robo_reward.learning.ensemble import EnsembleMLP

SMOOTHING = 0.75
"""Standard deviation of the target's Gaussian, in bins."""


class BinnedCritic(nn.Module):
    """N critics Q(s, a) as the means of histograms over `bins` values in -limit..limit; called as `EnsembleCritic`."""

    centres: torch.Tensor
    edges: torch.Tensor

    def __init__(self, heads: int, inputs: int, hidden: int, norm: bool, rough: bool, bins: int, limit: float):
        super().__init__()
        self.mlp = EnsembleMLP(heads, inputs, hidden, bins, norm, rough)
        edges = torch.linspace(-limit, limit, bins + 1)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("centres", (edges[1:] + edges[:-1]) / 2, persistent=False)

    def forward(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, heads: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values of all heads, or only of those in `heads` (n,): (n, B)."""
        return self._mean(self._logits(state_BS, action_BA, heads))

    def fit(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, target_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of all heads and their cross-entropies with the target, both (N, B)."""
        logits = self._logits(state_BS, action_BA, None)
        loss_NB = -(self.spread(target_B) * torch.log_softmax(logits, -1)).sum(-1)
        return self._mean(logits), loss_NB

    def spread(self, target_B: torch.Tensor) -> torch.Tensor:
        """Each target as masses of the bins (B, bins), which sum to 1; targets beyond the limit are cut to it."""
        edges = self.edges
        away = (edges - target_B.clamp(edges[0], edges[-1])[:, None]) / (SMOOTHING * (edges[1] - edges[0]))
        below = torch.special.ndtr(away)
        return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])

    def _logits(self, state: torch.Tensor, action: torch.Tensor, heads: torch.Tensor | None) -> torch.Tensor:
        logits: torch.Tensor = self.mlp(torch.cat([state, action], dim=-1), heads)
        return logits

    def _mean(self, logits_NBK: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits_NBK, -1) @ self.centres

"""Critics that say how likely each value is, not only the value: a histogram trained by cross-entropy.

The target becomes a Gaussian's mass in every bin (HL-Gauss, arXiv 2403.03950), so its size no longer sets the size of
the gradient.
"""

from __future__ import annotations

import torch

from robo_reward.learning.networks import EnsembleCritic

SMOOTHING = 0.75
"""Standard deviation of the target's Gaussian, in bins."""


class BinnedCritic(EnsembleCritic):
    """N critics Q(s, a) as the means of histograms over `bins` values in -limit..limit."""

    centres: torch.Tensor
    edges: torch.Tensor

    def __init__(self, heads: int, inputs: int, hidden: int, norm: bool, rough: bool, bins: int, limit: float):
        super().__init__(heads, inputs, hidden, norm, rough, bins)
        edges = torch.linspace(-limit, limit, bins + 1)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("centres", (edges[1:] + edges[:-1]) / 2, persistent=False)

    def spread(self, target_B: torch.Tensor) -> torch.Tensor:
        """Each target as masses of the bins (B, bins), which sum to 1; targets beyond the limit are cut to it."""
        edges = self.edges
        away = (edges - target_B.clamp(edges[0], edges[-1])[:, None]) / (SMOOTHING * (edges[1] - edges[0]))
        below = torch.special.ndtr(away)
        return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])

    def _values(self, y_NBO: torch.Tensor) -> torch.Tensor:
        return torch.softmax(y_NBO, -1) @ self.centres

    def _by_output(self, y_NBO: torch.Tensor, q_NB: torch.Tensor, slope_NB: torch.Tensor) -> torch.Tensor:
        return torch.softmax(y_NBO, -1) * (self.centres - q_NB[..., None]) * slope_NB[..., None]

    def _misfit(
        self, y_NBO: torch.Tensor, q_NB: torch.Tensor, target_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropies with the spread target."""
        wanted_BO, log_NBO = self.spread(target_B), torch.log_softmax(y_NBO, -1)
        return -(wanted_BO * log_NBO).sum(-1), log_NBO.exp() - wanted_BO

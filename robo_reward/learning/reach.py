"""How far the residual reaches: fixed, growing while it learns, or learned for each dimension of the action."""

from __future__ import annotations

import torch
from torch import nn

from robo_reward.config import AgentConfig


class Reach(nn.Module):
    """Largest residual in action units, (A,), by `agent.reach` and `agent.residual_scale`.

    learned: every dimension starts at the scale and may come to lie anywhere between 0 and twice that; it follows the
    actor's objective. growing: from a tenth of the scale to all of it over the first `agent.reach_updates` actor steps.
    """

    scale_A: torch.Tensor

    def __init__(self, settings: AgentConfig, action_size: int):
        super().__init__()
        self.settings = settings
        if settings.reach == "learned":
            self.logit_A = nn.Parameter(torch.zeros(action_size))
        self.register_buffer("scale_A", torch.full((action_size,), settings.residual_scale))
        if settings.reach == "growing":
            self.scale_A *= 0.1

    def forward(self) -> torch.Tensor:
        """The reach at present (A,)."""
        if self.settings.reach == "learned":
            return 2.0 * self.scale_A * torch.sigmoid(self.logit_A)
        return self.scale_A

    def grow(self) -> None:
        """To be called after every step of the actor."""
        s = self.settings
        if s.reach == "growing":
            self.scale_A.add_(0.9 * s.residual_scale / s.reach_updates).clamp_(max=s.residual_scale)

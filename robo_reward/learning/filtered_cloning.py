"""Filtered behaviour cloning, a peer: clone the demonstrations and one's own successes, try again, and so on.

No critics: what did not succeed teaches nothing (`agent.self_imitation`). The residual form only lets it start as the
base.
"""

from __future__ import annotations

import torch

from robo_reward.learning.residual_td3 import ResidualTD3, Windows


class FilteredCloning(ResidualTD3):
    """The imitation term of the residual TD3 alone; see there for the arguments."""

    def update_critics(self, batch: Windows) -> dict[str, float]:
        """Nothing."""
        self._error_NB = torch.zeros(1, len(batch.weight_B))
        return {}

    def _improvement(
        self, state: torch.Tensor, base: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        action = self._action(self.actor, state, base)
        return action, torch.zeros((), device=self.device), {}

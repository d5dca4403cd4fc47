"""Filtered behaviour cloning, a peer: clone the demonstrations and one's own successes, try again, and so on.

No critics: what did not succeed teaches nothing (`agent.self_imitation`). The residual form only lets it start as the
base.
"""

from __future__ import annotations

import numpy as np
import torch

from robo_reward.learning.replay import Batch
from robo_reward.learning.residual_td3 import ResidualTD3


class FilteredCloning(ResidualTD3):
    """The imitation term of the residual TD3 alone; see there for the arguments."""

    def update_critics(self, batch: Batch) -> dict[str, float]:
        """Nothing."""
        self.error_B = np.zeros(len(batch.place_B), np.float32)
        return {}

    def _improvement(
        self, state: torch.Tensor, base: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        action = self._action(self.actor, state, base)
        return action, torch.zeros((), device=self.device), {}

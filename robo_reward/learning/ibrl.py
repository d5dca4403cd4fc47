"""IBRL, a peer: of the imitation policy's action and the learned policy's, the one with the higher value acts.

And the target bootstraps from the higher of the two. The learned policy does not stand on the base: its actions are
whole ones. Source: imitation bootstrapped reinforcement learning, arXiv 2311.02198; own implementation from the paper.
"""

from __future__ import annotations

import numpy as np
import torch

from robo_reward.learning.residual_td3 import ResidualTD3


class IBRL(ResidualTD3):
    """TD3 beside a frozen policy; see `ResidualTD3` for the arguments."""

    exploration_noise = 0.0
    """Added here, to the learned action alone, before the choice."""

    def _chosen(
        self, state: torch.Tensor, base: torch.Tensor, deployed: bool, rng: np.random.Generator | None
    ) -> torch.Tensor:
        """The base's action or the learned one, explored, whichever the target critics value more."""
        actor = self.actor_average if deployed else self.actor_target
        noise = None if rng is None else self._drawn(rng) * self.settings.exploration_noise
        learned = self._action(actor, state, base, noise)
        # All heads: which two are drawn must not decide who acts.
        values = [self.critic_target(state, action).mean(0) for action in (base, learned)]
        return learned if values[1] > values[0] else base

    def _next_value(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        both = torch.cat([base, self._target_action(state, base)])
        return self._smallest(torch.cat([state, state]), both).reshape(2, -1).amax(0)  # by the same heads

    def _action(
        self, actor: torch.nn.Module, state: torch.Tensor, base: torch.Tensor, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        action = actor(state, torch.zeros_like(base))
        return (action if noise is None else action + noise).clamp(-1.0, 1.0)

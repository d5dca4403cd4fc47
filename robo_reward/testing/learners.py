"""Small learners and random batches for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from robo_reward.config import AgentConfig
from robo_reward.learning.agents import AGENTS
from robo_reward.learning.replay import Batch
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.shaping import SCHEMES

STATE, ACTION, N_STEP, GAMMA = 3, 2, 3, 0.9
SETTINGS = AgentConfig(gamma=GAMMA, n_step=N_STEP, heads=4, hidden=32, batch=16)


def small_learner(
    shaping: str = "potential", scale: float = 1.0, seed: int = 0, size: int = STATE, action_size: int = ACTION,
    settings: AgentConfig = SETTINGS, **changes: Any,
) -> ResidualTD3:  # fmt: skip
    """An untrained learner of `settings.kind`, whose inputs are taken as they are.

    Args:
        shaping: name of the scheme.
        scale: of the potential.
        seed: of the weights.
        size: numbers of its input.
        action_size: numbers of an action.
        settings: of the agent.
        changes: of the settings.
    """
    settings, zeros = replace(settings, **changes), np.zeros(size, np.float32)
    return AGENTS[settings.kind](zeros, zeros + 1, action_size, settings, SCHEMES[shaping], scale, seed)


class ByAutograd(nn.Module):
    """A critic with only a `forward`; what `EnsembleCritic` writes out by hand autograd finds here."""

    def fit(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, target_B: torch.Tensor, weight_B: torch.Tensor,
        of_state: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """See `EnsembleCritic.fit`; the gradients are in every parameter's `grad`."""
        state_BS = state_BS.detach().requires_grad_(of_state)
        q_NB = self(state_BS, action_BA)
        loss_NB = (q_NB - target_B).square()
        (weight_B * loss_NB).mean(1).sum().backward()
        return q_NB.detach(), loss_NB.detach(), state_BS[:, :0] if state_BS.grad is None else state_BS.grad

    def uphill(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, pessimism: float, heads: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `EnsembleCritic.uphill`."""
        action_BA = action_BA.detach().requires_grad_()
        q_NB = self(state_BS, action_BA, heads)
        bound_B = q_NB.mean(0) - pessimism * q_NB.std(0)
        [slope_BA] = torch.autograd.grad(bound_B.sum(), action_BA)
        return bound_B.detach(), slope_BA


def random_batch(rows: int, seed: int = 0, **changes: np.ndarray) -> Batch:
    """Windows of up to `N_STEP` steps that end nowhere, nothing of them demonstrated; `changes` of its arrays."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    length = rng.integers(1, N_STEP + 1, rows)
    batch = Batch(
        state_BS=normal(rows, STATE), base_BR=np.tanh(normal(rows, ACTION)), action_BA=np.tanh(normal(rows, ACTION)),
        reward_B=normal(rows), discount_B=(GAMMA**length).astype(np.float32), terminated_B=np.zeros(rows, np.float32),
        next_state_BS=normal(rows, STATE), next_base_BR=np.tanh(normal(rows, ACTION)),
        phi_BW=rng.uniform(size=(rows, N_STEP + 1)).astype(np.float32), length_B=length,
        demonstration_B=np.zeros(rows, np.float32), weight_B=np.ones(rows, np.float32), place_B=np.arange(rows),
    )  # fmt: skip
    return replace(batch, **changes)

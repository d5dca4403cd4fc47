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

    `norm` False leaves it out: a control. `rough`: see `EnsembleMLP`. `fit` and `uphill` go back through the networks
    by hand: on vectors of this size autograd's own work would be felt.
    """

    def __init__(self, heads: int, inputs: int, hidden: int, norm: bool = True, rough: bool = False, outputs: int = 1):
        super().__init__()
        self.mlp = EnsembleMLP(heads, inputs, hidden, outputs, norm, rough)

    def forward(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, heads: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values of all heads, or only of those in `heads` (n,): (n, B)."""
        return self._values(self.mlp(torch.cat([state_BS, action_BA], dim=-1), heads))

    @torch.no_grad()
    def fit(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, target_B: torch.Tensor, weight_B: torch.Tensor,
        of_state: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        """How far every head is from the target; `mlp.flat.grad` becomes the gradient that brings it nearer.

        Returns values (N, B), losses (N, B), and, `of_state`, the derivative by the state (B, S), else nothing (B, 0).
        What is differentiated is the mean of the weighted losses over the windows, summed over the heads.
        """
        passage = self.mlp.record(torch.cat([state_BS, action_BA], dim=-1))
        q_NB = self._values(passage.y_NBO)
        loss_NB, slope_NBO = self._misfit(passage.y_NBO, q_NB, target_B)
        slope_NBO *= (weight_B / len(weight_B))[:, None]
        if self.mlp.flat.grad is None:
            self.mlp.flat.grad = torch.empty_like(self.mlp.flat)
        inputs = state_BS.shape[1] + action_BA.shape[1] if of_state else 0
        by_input_BI = passage.back(slope_NBO, self.mlp.flat.grad, inputs)
        return q_NB, loss_NB, by_input_BI[:, : state_BS.shape[1]]

    @torch.no_grad()
    def uphill(
        self, state_BS: torch.Tensor, action_BA: torch.Tensor, pessimism: float, heads: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`lower_bound` of all heads, or those in `heads` (n,), (B,) and its derivative by each action (B, A)."""
        passage = self.mlp.record(torch.cat([state_BS, action_BA], dim=-1), heads)
        q_NB = self._values(passage.y_NBO)
        bound_B, slope_NB = lower_bound(q_NB, pessimism)
        return bound_B, passage.back(self._by_output(passage.y_NBO, q_NB, slope_NB), None, action_BA.shape[1])

    def _values(self, y_NBO: torch.Tensor) -> torch.Tensor:
        """What the networks' outputs say (N, B)."""
        return y_NBO.squeeze(-1)

    def _by_output(self, y_NBO: torch.Tensor, q_NB: torch.Tensor, slope_NB: torch.Tensor) -> torch.Tensor:
        """A derivative by the values as one by the outputs."""
        return slope_NB[..., None]

    def _misfit(
        self, y_NBO: torch.Tensor, q_NB: torch.Tensor, target_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses (N, B) and their derivatives by the outputs (N, B, O): here squared errors."""
        error_NB = q_NB - target_B
        return error_NB.square(), (2.0 * error_NB)[..., None]


def lower_bound(q_NB: torch.Tensor, pessimism: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the heads less `pessimism` standard deviations (B,), and its derivatives by the values (N, B).

    Where the heads disagree, moving is not an improvement. Where all agree exactly the deviation has no slope.
    """
    heads, mean_B = len(q_NB), q_NB.mean(0)
    if heads == 1 or pessimism == 0:
        return mean_B, torch.full_like(q_NB, 1.0 / heads)
    off_NB = q_NB - mean_B
    std_B = (off_NB.square().sum(0) / (heads - 1)).sqrt()
    slope_NB = 1.0 / heads - off_NB * (pessimism / (heads - 1) / std_B.clamp(min=torch.finfo(std_B.dtype).tiny))
    return mean_B - pessimism * std_B, slope_NB


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

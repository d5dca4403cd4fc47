"""Residual SAC: the residual is drawn from a squashed Gaussian, and how random it is tunes itself.

Everything else is the residual TD3's: base, critics, replay, demonstrations, shaping, imitation. With `base=zero` and
`agent.residual_scale=1` it is plain SAC, and so the peers RLPD (arXiv 2302.02948) and HIL-SERL (arXiv 2410.21845) are
configurations of it. Source: SAC with a tuned temperature, arXiv 1812.05905.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from robo_reward.config import AgentConfig
from robo_reward.learning.networks import mlp
from robo_reward.learning.pixels import PixelEncoder
from robo_reward.learning.residual_td3 import ResidualTD3

LOG_STD = (-5.0, 2.0)
"""Range of the Gaussian's logarithmic standard deviation, before it is squashed."""


class GaussianActor(nn.Module):
    """Residual tanh(N(mean, std)) given (state, base action); at the start the mean is 0 and the std that of exploring.

    The logarithm of the temperature is kept here too, so that checkpoints, optimiser and averages know one network.
    """

    def __init__(self, state_size: int, action_size: int, settings: AgentConfig):
        super().__init__()
        self.layers = mlp(state_size + action_size, settings.hidden, 2 * action_size, settings.layer_norm)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(settings.temperature)))
        weight, bias = self.layers[-1].parameters()
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
        std = max(settings.exploration_noise / settings.residual_scale, math.exp(LOG_STD[0]))
        with torch.no_grad():
            bias[action_size:] = math.log(std)

    def forward(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> torch.Tensor:
        """The residual without chance, in [-1, 1] (B, A)."""
        return torch.tanh(self._gaussian(state_BS, base_BA)[0])

    def draw(
        self, state_BS: torch.Tensor, base_BA: torch.Tensor, normal_BA: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual that these standard normal numbers make (B, A), and its log probability density (B,)."""
        mean, log_std = self._gaussian(state_BS, base_BA)
        before = mean + log_std.exp() * normal_BA
        log_density = -0.5 * normal_BA.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), in a form that does not lose its digits at large x.
        stretch = 2.0 * (math.log(2.0) - before - nn.functional.softplus(-2.0 * before))
        return torch.tanh(before), (log_density - stretch).sum(-1)

    def _gaussian(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.layers(torch.cat([state_BS, base_BA], dim=-1)).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD)


class ResidualSAC(ResidualTD3):
    """The residual TD3 with a stochastic actor; see there for the arguments."""

    actor: GaussianActor
    exploration_noise = 0.0
    """Its own draws explore."""

    def _new_actor(self, size: int) -> GaussianActor:
        return GaussianActor(size, self.action_size, self.settings)

    def _looks_through(self, rng: np.random.Generator | None) -> PixelEncoder | None:
        return self.encoder_target if rng is None else self.encoder

    def _chosen(
        self, state: torch.Tensor, base: torch.Tensor, deployed: bool, rng: np.random.Generator | None
    ) -> torch.Tensor:
        """A draw of the newest actor; without random numbers the mean of an average of actors."""
        if rng is None:
            return super()._chosen(state, base, deployed, rng)
        residual, _ = self.actor.draw(state, base, self._drawn(rng))
        return self._executed(base, residual)

    def _next_value(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Smallest of a few heads at a drawn action, and the entropy there."""
        residual, log_density = self._draw(state, base)
        value = self._smallest(state, self._executed(base, residual))
        if self.settings.entropy_backup:
            value = value - self.actor.log_temperature.exp() * log_density
        return value

    def _improvement(
        self, state: torch.Tensor, base: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """A drawn action; its value, its entropy at the temperature's price, and the temperature's own loss."""
        residual, log_density = self._draw(state, base)
        action = self._executed(base, residual)
        downhill, value = self._downhill(state, action)
        temperature = self.actor.log_temperature.exp()
        wanted = self.settings.target_entropy * self.action_size
        surplus = -log_density.detach().mean() - wanted
        loss = downhill + (temperature.detach() * log_density).mean() + temperature * surplus
        return action, loss, {
            "actor_q": value,
            "entropy": float(-log_density.detach().mean()),
            "temperature": float(temperature.detach()),
        }  # fmt: skip

    def _draw(self, state: torch.Tensor, base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.actor.draw(state, base, self._normal(base))

    def _executed(self, base: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return (base + self.reach() * residual).clamp(-1.0, 1.0)

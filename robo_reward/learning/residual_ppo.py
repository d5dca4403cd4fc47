"""Residual PPO, a peer: the residual learned on-policy, each rollout used for one update and never again.

No replay, no demonstrations: what they know is in the base. Sources: PPO, arXiv 1707.06347; on a frozen base, arXiv
2407.16677. Own implementation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from robo_reward.config import AgentConfig
from robo_reward.learning.networks import mlp
from robo_reward.learning.replay import base_rows
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.types import Episode, PhiTrack

Rollout = tuple[Episode, PhiTrack, np.ndarray]
"""An episode, its potentials, and the policy's inputs at its observations (T+1, S)."""


class NormalActor(nn.Module):
    """Residual N(mean(s, base action), std); at the start the mean is 0 and the std that of exploring."""

    def __init__(self, state_size: int, action_size: int, settings: AgentConfig):
        super().__init__()
        self.layers = mlp(state_size + action_size, settings.hidden, action_size, settings.layer_norm)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        std = max(settings.exploration_noise, 1e-3) / settings.residual_scale
        self.log_std = nn.Parameter(torch.full((action_size,), math.log(std)))

    def forward(self, state_BS: torch.Tensor, base_BA: torch.Tensor) -> torch.Tensor:
        """The residual without chance (B, A)."""
        return self.layers(torch.cat([state_BS, base_BA], dim=-1))

    def log_density(self, state_BS: torch.Tensor, base_BA: torch.Tensor, residual_BA: torch.Tensor) -> torch.Tensor:
        """Logarithm of the probability density of these residuals (B,)."""
        scaled = (residual_BA - self(state_BS, base_BA)) / self.log_std.exp()
        return (-0.5 * scaled.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class ResidualPPO(ResidualTD3):
    """The parts of `ResidualTD3` (see there for the arguments); the mean of its critics at the base's action is V."""

    actor: NormalActor
    exploration_noise = 0.0
    """Its own draws explore."""

    def _new_actor(self, size: int) -> NormalActor:
        return NormalActor(size, self.action_size, self.settings)

    def _chosen(
        self, state: torch.Tensor, base: torch.Tensor, deployed: bool, rng: np.random.Generator | None
    ) -> torch.Tensor:
        """A draw of the policy, or its mean."""
        residual = self.actor(state, base)
        if rng is not None:
            residual = residual + self.actor.log_std.exp() * self._drawn(rng)
        return (base + self.settings.residual_scale * residual).clamp(-1.0, 1.0)

    def learn_from(self, rollouts: Sequence[Rollout]) -> tuple[int, dict[str, float]]:
        """`agent.epochs` passes over rollouts of the policy as it is now; returns its steps and numbers to log."""
        s = self.settings
        states, bases, actions, advantages, returns = (
            torch.cat(column) for column in zip(*(self._advantages(*rollout) for rollout in rollouts), strict=True)
        )
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        # The action as executed; where the range or the gate cut it, this is the residual that would have been let by.
        residuals = (actions - bases) / s.residual_scale
        with torch.no_grad():
            before = self.actor.log_density(states, bases, residuals)
        steps, value_losses, shares = 0, [], []
        for _ in range(s.epochs):
            for rows in torch.randperm(len(states), generator=self.generator).split(s.batch):
                ratio = (self.actor.log_density(states[rows], bases[rows], residuals[rows]) - before[rows]).exp()
                clipped = ratio.clamp(1 - s.ratio_clip, 1 + s.ratio_clip)
                gain = torch.minimum(ratio * advantages[rows], clipped * advantages[rows])
                self._step(self.actor_optimiser, -gain.mean())
                error_NB = self.critic(states[rows], bases[rows]) - returns[rows]
                self._step(self.critic_optimiser, error_NB.square().mean(1).sum())
                steps += 1
                value_losses.append(float(error_NB.detach().square().mean()))
                shares.append(float((ratio != clipped).float().mean()))
        for network, source in ((self.actor_target, self.actor), (self.actor_average, self.actor)):
            network.load_state_dict(source.state_dict())
        return steps, {"value_loss": float(np.mean(value_losses)), "clipped_share": float(np.mean(shares))}

    def _advantages(self, episode: Episode, track: PhiTrack, inputs: np.ndarray) -> tuple[torch.Tensor, ...]:
        """States, base actions, executed actions, generalised advantages and returns of an episode's steps."""
        s, steps = self.settings, len(episode)
        ended = np.zeros(steps, np.float32)
        ended[-1] = float(episode.terminated)  # a time-out is bootstrapped
        pairs = np.stack([track.phi[:-1], track.phi[1:]], axis=1)
        reward = self.shaping(
            episode.reward, pairs, np.ones(steps, np.int64), ended, gamma=s.gamma, scale=self.shaping_scale
        )
        states, bases = self._observe(inputs, base_rows(episode))
        with torch.no_grad():
            value = self.critic(states, bases).mean(0).cpu().numpy()
        surprise = reward + s.gamma * (1 - ended) * value[1:] - value[:-1]
        advantage, ahead = np.zeros(steps, np.float32), 0.0
        for t in range(steps - 1, -1, -1):
            ahead = surprise[t] + s.gamma * s.gae * (1 - ended[t]) * ahead
            advantage[t] = ahead
        columns = (episode.action, advantage, advantage + value[:-1])
        return states[:-1], bases[:-1], *(self._tensor(column) for column in columns)

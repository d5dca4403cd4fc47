"""Residual TD3 over a frozen base policy: the reference learner, readable top to bottom.

The executed action is a = clip(a_base + scale * pi(s, a_base)). Ten critics see the full action; the target takes the
smaller of two of them drawn anew each update (REDQ); half of every batch are demonstrations (RLPD). Potential-based
shaping is added here, when a batch has been sampled. Sources: ResFiT (arXiv 2509.19301) for the recipe, TD3, REDQ,
RLPD for its parts; learning rates and scale were measured on PegInsert.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from robo_reward.config import AgentConfig
from robo_reward.learning.bins import BinnedCritic
from robo_reward.learning.networks import EnsembleCritic, ResidualActor
from robo_reward.learning.reach import Reach
from robo_reward.learning.replay import Batch
from robo_reward.shaping import Shaping

_NETWORKS = ("actor", "actor_target", "actor_average", "actor_prior", "reach", "critic", "critic_target")


class ResidualTD3:
    """Actor, critics, their targets and optimisers.

    Arguments: mean and standard deviation of the policy's input over the demonstrations (fixed from then on), size of
    the action, settings, the shaping scheme with its scale, a seed, the columns of the observation that the input is
    made of, and the size of the base's phase.

    The phase (which step of a chunk this is) belongs to the state: without it a base that acts in chunks looks random
    to the critics, and the learner on top of it wavers.
    """

    def __init__(
        self,
        mean_S: np.ndarray,
        std_S: np.ndarray,
        action_size: int,
        settings: AgentConfig,
        shaping: Shaping,
        shaping_scale: float,
        seed: int,
        columns: tuple[int, ...] | None = None,
        phase_size: int = 0,
    ):
        torch.manual_seed(seed)
        self.settings, self.shaping, self.shaping_scale = settings, shaping, shaping_scale
        self.generator = torch.Generator().manual_seed(seed)
        self.mean, self.std = torch.from_numpy(mean_S), torch.from_numpy(std_S)
        self.action_size, self.phase_size, self.columns = action_size, phase_size, columns
        size = len(mean_S) + phase_size
        self.actor = self._new_actor(size)
        self.actor_target = self._new_actor(size)
        self.critic, self.critic_target = self._new_critic(size), self._new_critic(size)
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.actor_average, self.actor_prior = copy.deepcopy(self.actor), copy.deepcopy(self.actor)
        self.critic_target.load_state_dict(self.critic.state_dict())
        for network in (self.actor_target, self.actor_average, self.actor_prior, self.critic_target):
            network.requires_grad_(False)
        self.error_B = np.zeros(0, np.float32)
        self.reach = Reach(settings, action_size)
        moved = [*self.actor.parameters(), *self.reach.parameters()]
        self.actor_optimiser = torch.optim.Adam(moved, settings.actor_learning_rate, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), settings.learning_rate, fused=True)

    def _new_actor(self, size: int) -> torch.nn.Module:
        return ResidualActor(size, self.action_size, self.settings.hidden, self.settings.layer_norm)

    def _new_critic(self, size: int) -> EnsembleCritic | BinnedCritic:
        s = self.settings
        shape = (s.heads, size + self.action_size, s.hidden, s.layer_norm)
        critic = BinnedCritic(*shape, s.value_bins, s.value_limit) if s.value_bins else EnsembleCritic(*shape)
        if s.value_init == "potential":
            # What a critic learns of a shaped reward is Q - Phi: saying 0 it says that Q is the potential.
            views = critic.mlp.views(critic.mlp.flat.detach())
            for part in (views.weight_NOH, views.bias_N1O):
                part.zero_()
        return critic

    @property
    def exploration_noise(self) -> float:
        """What is added to the actions of `act` while training: standard deviation, in action units."""
        return self.settings.exploration_noise

    def act(
        self,
        state_S: np.ndarray,
        base_R: np.ndarray,
        *,
        deployed: bool = False,
        rng: np.random.Generator | None = None,
    ) -> np.ndarray:
        """The learned action for one observation and the base's row (action and phase), in [-1, 1], unexplored.

        `rng` is for agents that draw their actions; this one does not.

        The newest actor chases the critics' noise from update to update, so none acts that is not an average:
        over about a hundred environment steps while training, over a dozen episodes when `deployed`.
        """
        actor = self.actor_average if deployed else self.actor_target
        with torch.no_grad():
            state, base = self._observe(state_S[None], base_R[None])
            return self._action(actor, state, base)[0].numpy()

    def value(self, state_S: np.ndarray, base_R: np.ndarray, action_A: np.ndarray) -> float:
        """Mean of the critics for an action on one observation; arguments as of `act`."""
        with torch.no_grad():
            state, _ = self._observe(state_S[None], base_R[None])
            return float(self.critic(state, torch.from_numpy(np.asarray(action_A, np.float32)[None])).mean())

    def update_critics(self, batch: Batch) -> dict[str, float]:
        """One step on every head towards the n-step target; the mask is `terminated`, never a time-out.

        Leaves the windows' absolute errors, averaged over the heads, in `error_B`: priorities for sampling.
        """
        s = self.settings
        state, _ = self._observe(batch.state_BS, batch.base_BR)
        reward = self.shaping(
            batch.reward_B, batch.phi_BW, batch.length_B, batch.terminated_B, gamma=s.gamma, scale=self.shaping_scale
        )
        with torch.no_grad():
            next_q = self._next_value(*self._observe(batch.next_state_BS, batch.next_base_BR))
            alive_discount = torch.from_numpy(batch.discount_B * (1.0 - batch.terminated_B))
            target = torch.from_numpy(np.asarray(reward, np.float32)) + alive_discount * next_q
        action = torch.from_numpy(batch.action_BA)
        if isinstance(self.critic, BinnedCritic):
            q_NB, loss_NB = self.critic.fit(state, action, target)
        else:
            q_NB = self.critic(state, action)
            loss_NB = (q_NB - target).square()
        error_NB = q_NB - target
        loss = (torch.from_numpy(batch.weight_B) * loss_NB).mean(1).sum()
        self.error_B = error_NB.detach().abs().mean(0).numpy()
        norm = self._step(self.critic_optimiser, loss)
        _move(self.critic_target, self.critic, s.tau)
        return {"critic_loss": float(loss.detach()) / s.heads, "q": float(q_NB.detach().mean()), "critic_norm": norm}

    def _next_value(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """What the target bootstraps from (B,)."""
        return self._smallest(state, self._target_action(state, base))

    def _target_action(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """The target policy's action with clipped noise (B, A)."""
        s = self.settings
        noise = torch.empty_like(base).normal_(generator=self.generator) * s.target_noise
        noise = noise.clamp(-s.target_noise_clip, s.target_noise_clip)
        return self._action(self.actor_target, state, base, noise)

    def _smallest(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The smallest value among a few target heads drawn anew (B,)."""
        s = self.settings
        heads = torch.randperm(s.heads, generator=self.generator)[: s.subset] if s.subset < s.heads else None
        return self.critic_target(state, action, heads).amin(0)

    def clone(self, batches: Iterable[Batch]) -> None:
        """Start the residual from what demonstrations show: a step of imitation alone for each batch, then every copy
        of the actor is that clone, and the prior that the actor is held to."""
        for batch in batches:
            state, base = self._observe(batch.state_BS, batch.base_BR)
            loss, _ = self._imitation(state, base, self._action(self.actor, state, base), batch)
            self._step(self.actor_optimiser, loss)
        for copied in (self.actor_target, self.actor_average, self.actor_prior):
            copied.load_state_dict(self.actor.state_dict())

    def update_actor(self, batch: Batch) -> dict[str, float]:
        """One step up the critics' lower bound, towards the demonstrated actions, and not far from the prior's."""
        s = self.settings
        state, base = self._observe(batch.state_BS, batch.base_BR)
        action, loss, numbers = self._improvement(state, base)
        imitation, imitated = self._imitation(state, base, action, batch, filtered=s.q_filter)
        loss = loss + s.imitation * imitation
        if s.prior > 0:
            with torch.no_grad():
                wont = self._action(self.actor_prior, state, base)
            own_B = torch.from_numpy(batch.demonstration_B == 0)
            loss = loss + s.prior * (own_B * (action - wont).square().sum(-1)).mean()
        norm = self._step(self.actor_optimiser, loss)
        _move(self.actor_target, self.actor, s.tau)
        _move(self.actor_average, self.actor, s.average_rate)
        self.reach.grow()
        return {**numbers, **imitated, "actor_norm": norm}

    def _imitation(
        self, state: torch.Tensor, base: torch.Tensor, action: torch.Tensor, batch: Batch, filtered: bool = False
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Squared distance to the nearest action within the residual's reach; the critics learn from the executed."""
        executed, shown_B = torch.from_numpy(batch.action_BA), torch.from_numpy(batch.demonstration_B)
        reach = self.reach().detach()
        shown = torch.minimum(torch.maximum(executed, base - reach), base + reach)
        error_B = (action - shown).square().sum(-1)
        worth_B = shown_B * self._worth_imitating(state, action, shown) if filtered else shown_B
        beyond_B = (executed != shown).any(-1) * shown_B
        return (worth_B * error_B).mean(), {
            "imitation_error": float(error_B.detach().mean()),
            "out_of_reach_share": float(beyond_B.sum() / shown_B.sum().clamp(min=1)),
        }

    def _improvement(
        self, state: torch.Tensor, base: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
        """The actor's actions (B, A), the loss whose descent makes them better, and numbers to log."""
        action = self._action(self.actor, state, base)
        q_B = self._lower_bound(state, action)
        return action, -q_B.mean(), {"actor_q": float(q_B.detach().mean())}

    def _lower_bound(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Mean of the heads less their spread (B,): where they disagree, moving is not an improvement."""
        self.critic.requires_grad_(False)
        q_NB = self.critic(state, action)
        self.critic.requires_grad_(True)
        return q_NB.mean(0) - self.settings.pessimism * q_NB.std(0)

    def _worth_imitating(self, state: torch.Tensor, action: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """1, or with the Q-filter (arXiv 1709.10089) 0 where the critics prefer the actor's action (B,)."""
        with torch.no_grad():
            return (self.critic(state, shown.clamp(-1.0, 1.0)).mean(0) > self.critic(state, action).mean(0)).float()

    def _observe(self, state_BS: np.ndarray, base_BR: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What the networks take for the state, standardised input and phase, and the base's action."""
        state = ((torch.from_numpy(state_BS) - self.mean) / self.std).clamp(-10.0, 10.0)
        base = torch.from_numpy(base_BR)
        return torch.cat([state, base[:, self.action_size :]], dim=-1), base[:, : self.action_size]

    def _action(
        self, actor: torch.nn.Module, state: torch.Tensor, base: torch.Tensor, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        residual = actor(state, base)
        if noise is not None:
            residual = residual + noise
        return (base + self.reach() * residual).clamp(-1.0, 1.0)

    def _step(self, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> float:
        """Backward, clip, step. A non-finite loss or gradient never reaches the weights: FloatingPointError instead."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        moved = (parameter for group in optimiser.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if not np.isfinite(norm):
            raise FloatingPointError("a gradient is not finite; the weights were left as they were")
        if norm > self.settings.gradient_clip:
            torch._foreach_mul_(gradients, self.settings.gradient_clip / (norm + 1e-6))
        optimiser.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs: networks, targets, optimisers, random state."""
        tensors = {"generator": self.generator.get_state()}
        for name in _NETWORKS:
            tensors |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        for name in ("actor_optimiser", "critic_optimiser"):
            for index, slot in getattr(self, name).state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in slot.items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.generator.set_state(tensors["generator"])
        for name in _NETWORKS:
            prefix = f"{name}."
            own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            getattr(self, name).load_state_dict(own)
        for name in ("actor_optimiser", "critic_optimiser"):
            optimiser = getattr(self, name)
            packed = optimiser.state_dict()
            slots: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"{name}."):
                    _, index, slot = key.split(".")
                    slots.setdefault(int(index), {})[slot] = value
            packed["state"] = slots
            optimiser.load_state_dict(packed)


def _move(target: torch.nn.Module, source: torch.nn.Module, tau: float) -> None:
    """Polyak: target += tau (source - target), all tensors in one call."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)

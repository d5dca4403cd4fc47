"""Residual TD3 over a frozen base policy: the reference learner, readable top to bottom.

The executed action is a = clip(a_base + scale * pi(s, a_base)). Ten critics see the full action; the target takes the
smaller of two of them drawn anew each update (REDQ); half of every batch are demonstrations (RLPD). Potential-based
shaping is added here, when a batch has been sampled. Sources: ResFiT (arXiv 2509.19301) for the recipe, TD3, REDQ,
RLPD for its parts; learning rates and scale were measured on PegInsert.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from robo_reward.config import AgentConfig
from robo_reward.learning.adam import Adam
from robo_reward.learning.bins import BinnedCritic
from robo_reward.learning.device import device_named
from robo_reward.learning.networks import EnsembleCritic, ResidualActor
from robo_reward.learning.pixels import FEATURES, Eyes, PixelEncoder, random_shift
from robo_reward.learning.reach import Reach
from robo_reward.learning.replay import Batch
from robo_reward.shaping import Shaping

_NETWORKS = ("actor", "actor_target", "actor_average", "actor_prior", "reach", "critic", "critic_target")
_ENCODERS = ("encoder", "encoder_target", "encoder_average")


class Windows(NamedTuple):
    """A batch as the networks take it; B may be that of several updates."""

    state_BS: torch.Tensor
    """Standardised input and phase."""
    base_BA: torch.Tensor
    action_BA: torch.Tensor
    reward_B: torch.Tensor
    """Shaped n-step return."""
    alive_discount_B: torch.Tensor
    """gamma^m, 0 where nothing is bootstrapped."""
    next_state_BS: torch.Tensor
    next_base_BA: torch.Tensor
    demonstration_B: torch.Tensor
    weight_B: torch.Tensor
    frames_BVHWC: torch.Tensor | None = None
    next_frames_BVHWC: torch.Tensor | None = None

    def rows(self, rows: slice) -> Windows:
        """Some of them."""
        return Windows(*(None if part is None else part[rows] for part in self))  # type: ignore[arg-type]


class ResidualTD3:
    """Actor, critics, their targets and optimisers.

    Arguments: mean and standard deviation of the policy's input over the demonstrations (fixed from then on), size of
    the action, settings, the shaping scheme with its scale, a seed, the columns of the observation that the input is
    made of, the size of the base's phase, and the cameras that are looked through, None for none.

    The phase (which step of a chunk this is) belongs to the state: without it a base that acts in chunks looks random
    to the critics, and the learner on top of it wavers.

    Actor and critics share what the encoder sees. Only the critics' errors teach it; target and average of the actor
    look through a target and an average of it.
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
        eyes: Eyes | None = None,
    ):
        torch.manual_seed(seed)
        self.settings, self.shaping, self.shaping_scale = settings, shaping, shaping_scale
        self.device = device_named(settings.device)
        # Chance is drawn on the CPU, weights are made there: the same numbers whatever the device.
        self.generator = torch.Generator().manual_seed(seed)
        self.mean, self.std = self._tensor(mean_S), self._tensor(std_S)
        self.action_size, self.phase_size, self.columns = action_size, phase_size, columns
        self.eyes = eyes
        size = len(mean_S) + phase_size + (FEATURES if eyes else 0)
        self.actor = self._new_actor(size).to(self.device)
        self.actor_target = self._new_actor(size).to(self.device)
        self.critic, self.critic_target = (self._new_critic(size).to(self.device) for _ in range(2))
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.actor_average, self.actor_prior = copy.deepcopy(self.actor), copy.deepcopy(self.actor)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.encoder = PixelEncoder(eyes).to(self.device) if eyes else None
        self.encoder_target, self.encoder_average = copy.deepcopy(self.encoder), copy.deepcopy(self.encoder)
        for network in (self.actor_target, self.actor_average, self.actor_prior, self.critic_target):
            network.requires_grad_(False)
        self._error_NB = torch.zeros(1, 0)
        self.reach = Reach(settings, action_size).to(self.device)
        moved = [*self.actor.parameters(), *self.reach.parameters()]
        self.actor_optimiser = Adam(moved, settings.actor_learning_rate)
        valuing = [*self.critic.parameters(), *(self.encoder.parameters() if self.encoder else ())]
        self.critic_optimiser = Adam(valuing, settings.learning_rate)

    def _new_actor(self, size: int) -> torch.nn.Module:
        s = self.settings
        return ResidualActor(size, self.action_size, s.hidden, s.layer_norm, s.precision == "bfloat16")

    def _new_critic(self, size: int) -> EnsembleCritic:
        s = self.settings
        shape = (s.heads, size + self.action_size, s.hidden, s.layer_norm, s.precision == "bfloat16")
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
        frames_VHWC: np.ndarray | None = None,
        *,
        deployed: bool = False,
        rng: np.random.Generator | None = None,
    ) -> np.ndarray:
        """The learned action for one observation and the base's row (action and phase), in [-1, 1], unexplored.

        Of the observation, `frames_VHWC` are what the cameras of `eyes` show.
        `rng` is for agents that draw their actions; when `deployed` none does.
        """
        rng = None if deployed else rng
        encoder = self.encoder_average if deployed else self._looks_through(rng)
        with torch.no_grad():
            state, base = self._observe(state_S[None], base_R[None], self._look(encoder, frames_VHWC))
            return self._chosen(state, base, deployed, rng)[0].cpu().numpy()

    def _looks_through(self, rng: np.random.Generator | None) -> PixelEncoder | None:
        """The encoder that acts while training."""
        return self.encoder_target

    def _chosen(
        self, state: torch.Tensor, base: torch.Tensor, deployed: bool, rng: np.random.Generator | None
    ) -> torch.Tensor:
        """The action of `act` (1, A); agents that draw theirs do it with numbers from `rng`, None for none.

        The newest actor chases the critics' noise from update to update, so none acts that is not an average:
        over about a hundred environment steps while training, over a dozen episodes when `deployed`.
        """
        return self._action(self.actor_average if deployed else self.actor_target, state, base)

    def value(
        self, state_S: np.ndarray, base_R: np.ndarray, frames_VHWC: np.ndarray | None, action_A: np.ndarray
    ) -> float:
        """Mean of the critics for an action on one observation; arguments as of `act`."""
        with torch.no_grad():
            state, _ = self._observe(state_S[None], base_R[None], self._look(self.encoder, frames_VHWC))
            return float(self.critic(state, self._tensor(np.asarray(action_A, np.float32)[None])).mean())

    def windows(self, batch: Batch) -> Windows:
        """A batch, or those of several updates one after the other, shaped and standardised."""
        s = self.settings
        reward_B = self.shaping(
            batch.reward_B, batch.phi_BW, batch.length_B, batch.terminated_B, gamma=s.gamma, scale=self.shaping_scale
        )
        state, base = self._observe(batch.state_BS, batch.base_BR)
        next_state, next_base = self._observe(batch.next_state_BS, batch.next_base_BR)
        frames = (None if f is None else self._tensor(f) for f in (batch.frames_BVHWC, batch.next_frames_BVHWC))
        return Windows(
            state, base, self._tensor(batch.action_BA), self._tensor(np.asarray(reward_B, np.float32)),
            self._tensor(batch.discount_B * (1.0 - batch.terminated_B)), next_state, next_base,
            self._tensor(batch.demonstration_B), self._tensor(batch.weight_B), *frames,
        )  # fmt: skip

    def update_critics(self, batch: Windows) -> dict[str, float]:
        """One step on every head towards the n-step target; the mask is `terminated`, never a time-out."""
        s = self.settings
        with torch.no_grad():
            seen = self._see(self.encoder_target, batch.next_frames_BVHWC)
            next_q = self._next_value(_with(batch.next_state_BS, seen), batch.next_base_BA)
            target = torch.addcmul(batch.reward_B, batch.alive_discount_B, next_q)
        sees = self.encoder is not None
        state = _with(batch.state_BS, self._see(self.encoder, batch.frames_BVHWC))
        q_NB, loss_NB, slope_BS = self.critic.fit(state, batch.action_BA, target, batch.weight_B, of_state=sees)
        if self.encoder is not None:
            self.encoder.zero_grad()
            state.backward(slope_BS)
        self._error_NB = q_NB - target
        norm = self.critic_optimiser.step(s.gradient_clip)
        _move(self.critic_target, self.critic, s.tau)
        _move(self.encoder_target, self.encoder, s.tau)
        loss = float((batch.weight_B * loss_NB).mean())
        return {"critic_loss": loss, "q": float(q_NB.mean()), "critic_norm": norm}

    @property
    def error_B(self) -> np.ndarray:
        """Absolute errors of the windows of the last update, averaged over the heads: priorities for sampling."""
        return self._error_NB.abs().mean(0).cpu().numpy()

    def _next_value(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """What the target bootstraps from (B,)."""
        return self._smallest(state, self._target_action(state, base))

    def _target_action(self, state: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """The target policy's action with clipped noise (B, A)."""
        s = self.settings
        noise = self._normal(base) * s.target_noise
        noise = noise.clamp(-s.target_noise_clip, s.target_noise_clip)
        return self._action(self.actor_target, state, base, noise)

    def _smallest(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The smallest value among a few target heads drawn anew (B,)."""
        return self.critic_target(state, action, self._draw_heads(self.settings.subset)).amin(0)

    def _draw_heads(self, number: int | None) -> torch.Tensor | None:
        """So many of the heads, drawn anew; None where they are all."""
        heads = self.settings.heads
        if number is None or number == heads:
            return None
        return torch.randperm(heads, generator=self.generator)[:number].to(self.device)

    def clone(self, batches: Iterable[Windows]) -> None:
        """Start the residual from what demonstrations show: a step of imitation alone for each batch, then every copy
        of the actor is that clone, and the prior that the actor is held to."""
        for batch in batches:
            loss, _ = self._imitation(batch, self._action(self.actor, batch.state_BS, batch.base_BA))
            self._step(self.actor_optimiser, loss)
        for copied in (self.actor_target, self.actor_average, self.actor_prior):
            copied.load_state_dict(self.actor.state_dict())

    def update_actor(self, batch: Windows) -> dict[str, float]:
        """One step up the critics' lower bound, towards the demonstrated actions, and not far from the prior's."""
        s = self.settings
        with torch.no_grad():
            batch = batch._replace(state_BS=_with(batch.state_BS, self._see(self.encoder, batch.frames_BVHWC)))
        state, base = batch.state_BS, batch.base_BA
        action, loss, numbers = self._improvement(state, base)
        imitation, imitated = self._imitation(batch, action, filtered=s.q_filter)
        loss = loss + s.imitation * imitation
        if s.prior > 0:
            with torch.no_grad():
                wont = self._action(self.actor_prior, state, base)
            own_B = batch.demonstration_B == 0
            loss = loss + s.prior * (own_B * (action - wont).square().sum(-1)).mean()
        norm = self._step(self.actor_optimiser, loss)
        _move(self.actor_target, self.actor, s.tau)
        _move(self.actor_average, self.actor, s.average_rate)
        _move(self.encoder_average, self.encoder, s.average_rate)
        self.reach.grow()
        return {**numbers, **imitated, "actor_norm": norm}

    def _imitation(
        self, batch: Windows, action: torch.Tensor, filtered: bool = False
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Squared distance to the nearest action within the residual's reach; the critics learn from the executed."""
        executed, shown_B, reach = batch.action_BA, batch.demonstration_B, self.reach().detach()
        shown = torch.minimum(torch.maximum(executed, batch.base_BA - reach), batch.base_BA + reach)
        error_B = (action - shown).square().sum(-1)
        worth_B = shown_B * self._worth_imitating(batch.state_BS, action, shown) if filtered else shown_B
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
        loss, value = self._downhill(state, action)
        return action, loss, {"actor_q": value}

    def _downhill(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, float]:
        """What falls as the critics' lower bound of the actions rises, and that bound, both means over the batch."""
        s = self.settings
        bound_B, slope_BA = self.critic.uphill(state, action.detach(), s.pessimism, self._draw_heads(s.actor_subset))
        return -(slope_BA * action).sum(-1).mean(), float(bound_B.mean())

    def _worth_imitating(self, state: torch.Tensor, action: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """1, or with the Q-filter (arXiv 1709.10089) 0 where the critics prefer the actor's action (B,)."""
        with torch.no_grad():
            return (self.critic(state, shown.clamp(-1.0, 1.0)).mean(0) > self.critic(state, action).mean(0)).float()

    def _observe(
        self, state_BS: np.ndarray, base_BR: np.ndarray, seen_BF: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the networks take for the state, standardised input, phase and what was seen, and the base's action."""
        state = ((self._tensor(state_BS) - self.mean) / self.std).clamp(-10.0, 10.0)
        base = self._tensor(base_BR)
        state = torch.cat([state, base[:, self.action_size :]], dim=-1)
        return _with(state, seen_BF), base[:, : self.action_size]

    def _see(self, encoder: PixelEncoder | None, frames_BVHWC: torch.Tensor | None) -> torch.Tensor | None:
        """What an encoder makes of a batch's frames (B, F), each shifted anew; None without eyes."""
        if encoder is None or frames_BVHWC is None:
            return None
        return encoder(random_shift(frames_BVHWC, self.settings.random_shift, self.generator))

    def _look(self, encoder: PixelEncoder | None, frames_VHWC: np.ndarray | None) -> torch.Tensor | None:
        """What an encoder makes of one moment's frames as they are (1, F); None without eyes."""
        return None if encoder is None or frames_VHWC is None else encoder(self._tensor(frames_VHWC[None]))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        """The array on the learner's device; on the CPU the same memory."""
        return torch.from_numpy(array).to(self.device)

    def _drawn(self, rng: np.random.Generator) -> torch.Tensor:
        """Standard normal numbers for one action (1, A)."""
        return self._tensor(rng.standard_normal((1, self.action_size)).astype(np.float32))

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal numbers of this shape."""
        return torch.empty(like.shape).normal_(generator=self.generator).to(self.device)

    def _action(
        self, actor: torch.nn.Module, state: torch.Tensor, base: torch.Tensor, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        residual = actor(state, base)
        if noise is not None:
            residual = residual + noise
        return (base + self.reach() * residual).clamp(-1.0, 1.0)

    def _step(self, optimiser: Adam, loss: torch.Tensor) -> float:
        """Backward and a step; a gradient that is not finite is FloatingPointError. Returns the gradient's norm."""
        optimiser.zero_grad()
        loss.backward()
        return optimiser.step(self.settings.gradient_clip)

    @property
    def _networks(self) -> tuple[str, ...]:
        return _NETWORKS + _ENCODERS if self.eyes else _NETWORKS

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs: networks, targets, optimisers, random state."""
        tensors = {"generator": self.generator.get_state()}
        for name in self._networks:
            tensors |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        for name in ("actor_optimiser", "critic_optimiser"):
            tensors |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.generator.set_state(tensors["generator"])
        for name in (*self._networks, "actor_optimiser", "critic_optimiser"):
            prefix = f"{name}."
            own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            getattr(self, name).load_state_dict(own)


def _with(state_BS: torch.Tensor, seen_BF: torch.Tensor | None) -> torch.Tensor:
    """The state and what was seen, if anything."""
    return state_BS if seen_BF is None else torch.cat([state_BS, seen_BF], dim=-1)


def _move(target: torch.nn.Module | None, source: torch.nn.Module | None, tau: float) -> None:
    """Polyak: target += tau (source - target), all tensors in one call; nothing where there is no network."""
    if target is None or source is None:
        return
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)

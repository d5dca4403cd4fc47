"""One step of the trained policy, base and residual, as one network with its memory among inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from robo_reward.learning.networks import ResidualActor, mlp
from robo_reward.learning.residual_ppo import NormalActor, ResidualPPO
from robo_reward.learning.residual_sac import GaussianActor
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.policies.cloning import ClonedPolicy
from robo_reward.policies.simple import ZeroPolicy


@dataclass(frozen=True)
class StepShape:
    """What a `PolicyStep` is made of; plain values, kept in JSON."""

    agent_pos: int
    """Numbers in agent_pos."""
    estimate: int
    """Numbers in the estimate (with `observation=features` those of the encoder behind it)."""
    actions: int
    columns: tuple[int, ...]
    """Of (agent_pos, estimate), what base and residual see."""
    chunk: int
    """Actions that the base predicts at once; 1 without a base."""
    base_hidden: int
    """Width of the base's network; 0 without a base, whose action is then 0."""
    hidden: int
    """Width of the residual's network."""
    norm: bool
    """Whether that has layer norm."""
    squash: bool
    """Whether its output goes through tanh."""


class PolicyStep(nn.Module):
    """(agent_pos, estimate, plan, step) -> (action, base_action, plan, step).

    The base's chunk and the number of its actions that are used up are the memory: an episode starts with `step` 0,
    whatever `plan` holds. Actions are in [-1, 1], the executed one without the dither of evaluation.
    """

    columns: torch.Tensor
    base_mean: torch.Tensor
    base_std: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    reach_A: torch.Tensor

    def __init__(self, shape: StepShape):
        super().__init__()
        self.shape = shape
        size = len(shape.columns)
        phase = shape.chunk if shape.base_hidden else 0
        self.register_buffer("columns", torch.tensor(shape.columns, dtype=torch.int64))
        for name, length, value in (
            ("base_mean", size, 0.0), ("base_std", size, 1.0), ("mean", size, 0.0), ("std", size, 1.0),
            ("reach_A", shape.actions, 0.0),
        ):  # fmt: skip
            self.register_buffer(name, torch.full((length,), value))
        self.base = mlp(size, shape.base_hidden, shape.chunk * shape.actions) if shape.base_hidden else None
        self.actor = mlp(size + phase + shape.actions, shape.hidden, shape.actions, shape.norm)

    def forward(
        self, agent_pos_BP: torch.Tensor, estimate_BE: torch.Tensor, plan_BKA: torch.Tensor, step_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Shapes (B, P), (B, E), (B, chunk, A), (B,) int64 -> (B, A), (B, A), (B, chunk, A), (B,) int64."""
        chunk, actions = self.shape.chunk, self.shape.actions
        seen = torch.cat([agent_pos_BP, estimate_BE], dim=-1).index_select(1, self.columns)
        state = ((seen - self.mean) / self.std).clamp(-10.0, 10.0)
        if self.base is None:
            plan = torch.zeros_like(plan_BKA)
        else:
            fresh = self.base((seen - self.base_mean) / self.base_std).clamp(-1.0, 1.0).view(-1, chunk, actions)
            plan = torch.where((step_B == 0)[:, None, None], fresh, plan_BKA)
        phase = (torch.arange(chunk, device=step_B.device)[None] == step_B[:, None]).float()
        base = (plan * phase[:, :, None]).sum(1)
        if self.base is not None:
            state = torch.cat([state, phase], dim=-1)
        residual = self.actor(torch.cat([state, base], dim=-1))
        if self.shape.squash:
            residual = torch.tanh(residual)
        action = (base + self.reach_A * residual).clamp(-1.0, 1.0)
        return action, base, plan, torch.remainder(step_B + 1, chunk)

    def start(self, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory (plan, step) at the first step of `batch` episodes."""
        return torch.zeros(batch, self.shape.chunk, self.shape.actions), torch.zeros(batch, dtype=torch.int64)


def policy_step(base: object, agent: ResidualTD3, agent_pos: int, estimate: int) -> PolicyStep:
    """The deployed policy, base and average of the actors, as a graph.

    Args:
        base: the frozen base: cloned or none.
        agent: the trained learner.
        agent_pos, estimate: how many numbers each holds.

    Raises:
        ValueError: for what is not one network: another base, chunks that are averaged, a choice between two actions.
    """
    if not isinstance(base, (ClonedPolicy, ZeroPolicy)):
        raise ValueError(
            f"base policy {getattr(base, 'policy_id', base)} is not a network of this project: export takes "
            "base=cloning, distilled and zero; LeRobot's own folders go to the robot as they are"
        )
    if isinstance(base, ClonedPolicy) and "-ensemble" in base.policy_id:
        raise ValueError("base.ensemble asks the network at every step: export takes chunks only, set it to null")
    actor, norm, squash = _plain_actor(agent)
    cloned = base if isinstance(base, ClonedPolicy) else None
    columns = agent.columns if agent.columns is not None else tuple(range(agent_pos + estimate))
    first = cast(nn.Linear, actor[0])
    step = PolicyStep(StepShape(
        agent_pos, estimate, agent.action_size, tuple(columns), cloned.chunk if cloned else 1,
        cast(nn.Linear, cast(nn.Sequential, cloned.network)[0]).out_features if cloned else 0,
        first.out_features, norm, squash,
    ))  # fmt: skip
    assert first.in_features == cast(nn.Linear, step.actor[0]).in_features
    step.actor.load_state_dict(actor.state_dict())
    step.mean.copy_(agent.mean)
    step.std.copy_(agent.std)
    # The on-policy learner has its own fixed reach.
    step.reach_A.copy_(
        torch.full_like(step.reach_A, agent.settings.residual_scale)
        if isinstance(agent, ResidualPPO)
        else agent.reach().detach()
    )
    if cloned is not None and step.base is not None:
        step.base.load_state_dict(cloned.network.state_dict())
        step.base_mean.copy_(torch.from_numpy(cloned.mean))
        step.base_std.copy_(torch.from_numpy(cloned.std))
    return step.eval().requires_grad_(False)


def _plain_actor(agent: ResidualTD3) -> tuple[nn.Sequential, bool, bool]:
    """The averaged actor as `networks.mlp`, whether it has layer norm, and whether tanh follows."""
    actor, norm = agent.actor_average, agent.settings.layer_norm
    if agent.settings.kind == "ibrl":
        raise ValueError("agent=ibrl chooses by its critics between two actions: export takes the other learners")
    if isinstance(actor, ResidualActor):
        views = actor.mlp.views(actor.mlp.flat.detach())
        inputs, outputs = views.hidden[0].weight_NIH.shape[1], views.weight_NOH.shape[1]
        plain = mlp(inputs, actor.mlp.hidden, outputs, norm)
        with torch.no_grad():
            linears = [layer for layer in plain if isinstance(layer, nn.Linear)]
            weights = [*(layer.weight_NIH[0].T for layer in views.hidden), views.weight_NOH[0]]
            biases = [*(layer.bias_N1H[0, 0] for layer in views.hidden), views.bias_N1O[0, 0]]
            for linear, weight, bias in zip(linears, weights, biases, strict=True):
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            norms = [layer for layer in plain if isinstance(layer, nn.LayerNorm)]
            for own, layer in zip(norms, views.hidden, strict=False):
                if layer.scale_N1H is not None and layer.shift_N1H is not None:
                    own.weight.copy_(layer.scale_N1H[0, 0])
                    own.bias.copy_(layer.shift_N1H[0, 0])
        return plain, norm, True
    if isinstance(actor, GaussianActor):  # the mean alone
        inner = cast(nn.Linear, actor.layers[0])
        plain = mlp(inner.in_features, inner.out_features, agent.action_size, norm)
        own_weights = actor.layers.state_dict()
        last = f"{len(actor.layers) - 1}."
        plain.load_state_dict({k: v[: agent.action_size] if k.startswith(last) else v for k, v in own_weights.items()})
        return plain, norm, True
    assert isinstance(actor, NormalActor)
    return actor.layers, norm, False

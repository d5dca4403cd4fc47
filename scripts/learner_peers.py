"""Other learners for `bench_learner.py`: each builder returns a function that makes `UPDATES` updates.

An update is one step of every critic; TD3 moves its actor once in two updates, SAC at each. All have two hidden layers
of HIDDEN, draw their batches from a replay of their own, and take the smallest of all target heads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from robo_reward.learning.networks import mlp

OBSERVATION, ACTION, ROWS = 54, 4, 10_000
"""Sizes of the default experiment, and of the replays."""
UPDATES = 16
"""Of a call; a rollout of the default experiment brings some hundreds."""
Build = Callable[[int, int, int], Callable[[], None]]
"""heads, width, batch -> the updates."""


def plain_td3(heads: int, hidden: int, batch: int) -> Callable[[], None]:
    """TD3 as it is written in one file: a module a critic, torch's Adam, a loop for the targets."""
    actor = torch.nn.Sequential(mlp(OBSERVATION, hidden, ACTION), torch.nn.Tanh())
    critics = torch.nn.ModuleList(mlp(OBSERVATION + ACTION, hidden, 1) for _ in range(heads))
    actor_target, critics_target = copy.deepcopy(actor), copy.deepcopy(critics)
    optimisers = [torch.optim.Adam(network.parameters(), 1e-3) for network in (actor, critics)]
    rng, sizes = np.random.default_rng(0), (OBSERVATION, ACTION, 1, OBSERVATION, 1)
    replay = [rng.normal(size=(ROWS, size)).astype(np.float32) for size in sizes]
    replay[-1][:] = 0

    def values(networks: torch.nn.ModuleList, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat([state, action], dim=-1)
        return torch.stack([network(inputs) for network in networks])

    def step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def follow(target: torch.nn.Module, source: torch.nn.Module) -> None:
        for moved, parameter in zip(target.parameters(), source.parameters(), strict=True):
            moved.data.copy_(0.005 * parameter.data + 0.995 * moved.data)

    def updates() -> None:
        for update in range(UPDATES):
            drawn = rng.integers(ROWS, size=batch)
            state, action, reward, next_state, done = (torch.from_numpy(rows[drawn]) for rows in replay)
            with torch.no_grad():
                noise = (0.1 * torch.randn_like(action)).clamp(-0.3, 0.3)
                next_action = (actor_target(next_state) + noise).clamp(-1, 1)
                target = reward + 0.99 * (1 - done) * values(critics_target, next_state, next_action).amin(0)
            step(optimisers[1], (values(critics, state, action) - target).square().mean((1, 2)).sum())
            if update % 2:
                step(optimisers[0], -values(critics, state, actor(state)).mean())
                follow(actor_target, actor)
            follow(critics_target, critics)

    return updates


def stable_baselines3(kind: str) -> Build:
    """stable-baselines3's TD3 or SAC; neither offers a LayerNorm. Only the first critic moves TD3's actor."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.logger import Logger

    class Space(gymnasium.Env[np.ndarray, np.ndarray]):
        observation_space = gymnasium.spaces.Box(-1, 1, (OBSERVATION,))
        action_space = gymnasium.spaces.Box(-1, 1, (ACTION,))

    def build(heads: int, hidden: int, batch: int) -> Callable[[], None]:
        model = getattr(stable_baselines3, kind)(
            "MlpPolicy", Space(), buffer_size=ROWS, device="cpu",
            policy_kwargs={"net_arch": [hidden, hidden], "n_critics": heads},
        )  # fmt: skip
        rng, buffer = np.random.default_rng(0), model.replay_buffer
        for rows in (buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards):
            rows[:] = rng.normal(size=rows.shape)
        buffer.full = True
        model.set_logger(Logger(None, []))
        return lambda: model.train(gradient_steps=UPDATES, batch_size=batch)

    return build


def torchrl_td3() -> Build:
    """torchrl's TD3 loss and target updater, stepped as in its own example; its networks have the LayerNorm."""
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.data import Bounded, LazyTensorStorage, ReplayBuffer
    from torchrl.modules import MLP, TanhModule, ValueOperator
    from torchrl.objectives import SoftUpdate, TD3Loss

    def build(heads: int, hidden: int, batch: int) -> Callable[[], None]:
        spec = Bounded(-1.0, 1.0, (ACTION,))
        norm: dict[str, Any] = {"norm_class": torch.nn.LayerNorm, "norm_kwargs": {"normalized_shape": hidden}}
        cells = {"num_cells": [hidden, hidden], "activation_class": torch.nn.ReLU, **norm}
        actor = TensorDictSequential(
            TensorDictModule(MLP(OBSERVATION, ACTION, **cells), in_keys=["observation"], out_keys=["param"]),
            TanhModule(in_keys=["param"], out_keys=["action"], spec=spec),
        )
        critic = ValueOperator(MLP(OBSERVATION + ACTION, 1, **cells), in_keys=["action", "observation"])
        loss = TD3Loss(actor, critic, num_qvalue_nets=heads, delay_actor=True, delay_qvalue=True, action_spec=spec)
        loss.make_value_estimator(gamma=0.99)
        moved = SoftUpdate(loss, tau=0.005)
        optimisers = [
            torch.optim.Adam(list(parameters.flatten_keys().values()), 1e-3)
            for parameters in (loss.actor_network_params, loss.qvalue_network_params)
        ]
        replay = ReplayBuffer(storage=LazyTensorStorage(ROWS), batch_size=batch)
        no = torch.zeros(ROWS, 1, dtype=torch.bool)
        following = {"observation": torch.randn(ROWS, OBSERVATION), "reward": torch.randn(ROWS, 1), "done": no,
                     "terminated": no}  # fmt: skip
        rows = {"observation": torch.randn(ROWS, OBSERVATION), "action": torch.randn(ROWS, ACTION).clamp(-1, 1)}
        replay.extend(TensorDict({**rows, "next": TensorDict(following, [ROWS])}, [ROWS]))

        def step(optimiser: torch.optim.Optimizer, value: torch.Tensor) -> None:
            value.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

        def updates() -> None:
            for update in range(UPDATES):
                drawn = replay.sample()
                step(optimisers[1], loss.value_loss(drawn)[0])
                if update % 2:
                    step(optimisers[0], loss.actor_loss(drawn)[0])
                    moved.step()

        return updates

    return build


def lerobot_sac() -> Build:
    """LeRobot's SAC for states, not compiled. Its encoder layer before the networks is left out, and it is given one
    batch again and again, because its replay is made for images."""
    from robo_reward.data.lerobot_package import hide_transformers
    from robo_reward.data.torchvision_cure import cure

    cure()
    hide_transformers()
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.sac.configuration_sac import SACConfig
    from lerobot.policies.sac.modeling_sac import SACPolicy
    from lerobot.utils.constants import ACTION as ACTION_KEY
    from lerobot.utils.constants import OBS_STATE

    def build(heads: int, hidden: int, batch: int) -> Callable[[], None]:
        config = SACConfig(
            input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (OBSERVATION,))},
            output_features={ACTION_KEY: PolicyFeature(FeatureType.ACTION, (ACTION,))},
            num_critics=heads, latent_dim=OBSERVATION, use_torch_compile=False, device="cpu",
        )  # fmt: skip
        config.critic_network_kwargs.hidden_dims = config.actor_network_kwargs.hidden_dims = [hidden, hidden]
        policy = SACPolicy(config)
        for encoder in {policy.encoder_critic, policy.encoder_actor}:
            encoder.forward = lambda observations, cache=None, detach=False: observations[OBS_STATE]
        parameters = policy.get_optim_params()
        groups = {name: [part] if torch.is_tensor(part) else list(part) for name, part in parameters.items()}
        optimisers = {name: torch.optim.Adam(group, 3e-4) for name, group in groups.items()}
        states, following = torch.randn(2, batch, OBSERVATION)
        drawn = {
            "state": {OBS_STATE: states}, "next_state": {OBS_STATE: following}, "reward": torch.randn(batch),
            ACTION_KEY: torch.randn(batch, ACTION).clamp(-1, 1), "done": torch.zeros(batch),
        }  # fmt: skip

        def updates() -> None:
            for _ in range(UPDATES):
                for name in ("critic", "actor", "temperature"):
                    value = policy.forward(drawn, model=name)[f"loss_{name}"]
                    optimisers[name].zero_grad()
                    value.backward()
                    torch.nn.utils.clip_grad_norm_(groups[name], config.grad_clip_norm)
                    optimisers[name].step()
                policy.update_target_networks()

        return updates

    return build


ALIKE: dict[str, dict[str, Any]] = {
    "": {},
    "_actor_every_1": {"actor_every": 1},
    "_without_norm_actor_of_1": {"layer_norm": False, "actor_subset": 1},
    "_without_norm_actor_every_1": {"layer_norm": False, "actor_every": 1},
}
"""How ours are set to be like a peer that has no norms, or moves its actor by one critic or at every update."""
PEERS: dict[str, tuple[Callable[[], Build], str]] = {
    "plain_td3": (lambda: plain_td3, ""),
    "stable_baselines3_td3": (lambda: stable_baselines3("TD3"), "_without_norm_actor_of_1"),
    "stable_baselines3_sac": (lambda: stable_baselines3("SAC"), "_without_norm_actor_every_1"),
    "torchrl_td3": (torchrl_td3, ""),
    "lerobot_sac": (lerobot_sac, "_actor_every_1"),
}
"""Name -> its builder, and which of ours is like it."""

"""A world's own scripted policy in it, for tests of worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from robo_reward.config import EnvConfig
from robo_reward.runtime.tasks import scripted

Meddle = Callable[[dict[str, Any], np.ndarray], np.ndarray]
"""What the environment said last, and the policy's action -> the action to execute."""


def scripted_episode(
    env: gymnasium.Env[Any, Any], seed: int, kind: str = "expert", meddle: Meddle | None = None
) -> tuple[list[Any], list[dict[str, Any]], tuple[bool, bool]]:
    """One episode to its end: T+1 observations, T+1 infos, and the last (terminated, truncated)."""
    assert env.spec is not None
    policy = scripted(EnvConfig(env.spec.id), kind, 0)
    observation, info = env.reset(seed=seed)
    observations, infos, state = [observation], [info], policy.initial_state(1)
    terminated = truncated = False
    while not (terminated or truncated):
        action, state = policy.act(observation["agent_pos"][None], observation["estimate"][None], state)
        observation, _, terminated, truncated, info = env.step(meddle(info, action[0]) if meddle else action[0])
        observations.append(observation)
        infos.append(info)
    return observations, infos, (terminated, truncated)

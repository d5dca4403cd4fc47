"""PegInsert as its tests look at it: the privileged state by name, the controller's target, a hand that pushes down."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

import robo_reward.envs  # noqa: F401 - registers the ids

STEP = np.array([0.010, 0.010, 0.010, 0.08])
"""[m, m, m, rad] of the target from the measured pose per action of 1, as the environment documents it."""
PRESS = 25.0
"""[N] of an action of 1 in contact, as the environment documents it."""
POSE, WRENCH, OFFSET = slice(7, 13), slice(13, 19), slice(19, 25)
"""Where agent_pos keeps them."""
AXES = [0, 1, 2, 5]
"""Of a pose, those that an action moves."""


def make_peg(**arguments: Any) -> Any:
    """The world without its wrappers."""
    return gymnasium.make("robo_reward/PegInsert-v0", **arguments).unwrapped


def truth(observation: dict[str, np.ndarray]) -> dict[str, Any]:
    """The privileged state by name; positions [m], yaw [rad]."""
    state = observation["environment_state"].astype(np.float64)
    return {
        "named": state[0:3], "other": state[3:6], "tip": state[6:9], "in_hand": state[9:12],
        "target": int(state[12]), "height": state[13], "sideways": state[14],
    }  # fmt: skip


def target_pose(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Where the controller's target is: measured pose plus the target's offset."""
    agent_pos = observation["agent_pos"].astype(np.float64)
    return (agent_pos[POSE] + agent_pos[OFFSET])[AXES]


def push_down(env: Any, seed: int, over: tuple[float, float] | None = None, steps: int = 80) -> list[tuple[Any, Any]]:
    """Full-down actions, over a point given in the named socket's frame or over the table; (observations, infos)."""
    observation, _ = env.reset(seed=seed)
    seen = []
    for _ in range(steps):
        action = np.array([0.0, 0.0, -1.0, 0.0])
        if over is not None:
            state = truth(observation)
            away = state["tip"][:2] - state["named"][:2] - over
            action[:2] = np.clip(-0.6 * away / STEP[:2], -1, 1)
            action[2] = -1.0 if np.hypot(*away) < 0.005 else 0.0
        observation, _, terminated, truncated, info = env.step(action)
        seen.append((observation, info))
        if terminated or truncated:
            break
    return seen

"""One policy, one environment, whole episodes: the loop that collection, evaluation and training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from robo_reward.interfaces import Policy
from robo_reward.types import Episode


def run_episode(
    env: gymnasium.Env[Any, Any],
    act: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]],
    *,
    seed: int,
    source: str,
    query_every: int = 0,
    options: dict[str, Any] | None = None,
) -> Episode:
    """Run one episode from the initial state of `seed`.

    `act(agent_pos_P, estimate_E)` returns the action in [-1, 1] and the base policy's action followed by its phase
    (or None). It is called once more on the final observation, so that the base action there is the one a learner must
    bootstrap from, while the chunk queue is still that of this episode. `act.base_id`, if it has one, names the base
    policy. `query_every` > 0 keeps the camera views of every such step and of the last one; 0 keeps none.
    """
    observation, info = env.reset(seed=seed, options=options)
    render = env.get_wrapper_attr("render_views") if query_every else None
    agent_pos, estimate = [observation["agent_pos"]], [observation["estimate"]]
    actions, bases, rewards, gated = [], [], [], []
    stages, oracle = [info["stage"]], [info["progress_oracle"]]
    frame_steps, frames = ([0], [render()]) if render else ([], [])
    terminated = truncated = False
    while not (terminated or truncated):
        action, base = act(agent_pos[-1], estimate[-1])
        observation, reward, terminated, truncated, info = env.step(action)
        actions.append(info["executed_action"])
        bases.append(base)
        rewards.append(reward)
        gated.append(bool(info.get("gated", False)))
        agent_pos.append(observation["agent_pos"])
        estimate.append(observation["estimate"])
        stages.append(info["stage"])
        oracle.append(info["progress_oracle"])
        step = len(actions)
        if render and (step % query_every == 0 or terminated or truncated):
            frame_steps.append(step)
            frames.append(render())
    bases.append(act(agent_pos[-1], estimate[-1])[1])
    views = frames[0].keys() if frames else ()
    base, width = None if bases[0] is None else np.asarray(bases, np.float32), len(actions[0])
    return Episode(
        episode_id=f"{source}-{seed}",
        instruction=info["instruction"],
        source=source,
        seed=seed,
        agent_pos=np.asarray(agent_pos, np.float32),
        estimate=np.asarray(estimate, np.float32),
        action=np.asarray(actions, np.float32),
        reward=np.asarray(rewards, np.float32),
        stage=np.asarray(stages, np.int64),
        oracle=np.asarray(oracle, np.float32),
        terminated=bool(terminated),
        truncated=bool(truncated and not terminated),
        success=bool(info["is_success"]),
        frame_steps=np.asarray(frame_steps, np.int64),
        frames={view: np.stack([frame[view] for frame in frames]) for view in views},
        base_action=None if base is None else base[:, :width],
        base_phase=None if base is None else base[:, width:],
        base_id=getattr(act, "base_id", None),
        gated=np.asarray(gated),
    )


class PolicyActor:
    """A policy bound to one running episode: what `run_episode` calls. The state starts fresh with every episode."""

    def __init__(self, policy: Policy):
        self.policy, self.state = policy, policy.initial_state(1)

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, None]:
        action, self.state = self.policy.act(agent_pos[None], estimate[None], self.state)
        return action[0], None


def run_policy(
    env: gymnasium.Env[Any, Any], policy: Policy, seeds: list[int], *, source: str, query_every: int = 0
) -> Iterator[Episode]:
    """Episodes of `policy` from the initial states of `seeds`, in order."""
    for seed in seeds:
        yield run_episode(env, PolicyActor(policy), seed=seed, source=source, query_every=query_every)

"""A reward model's shaped reward, live, for any Gymnasium agent.

    env = ProgressReward(gymnasium.make("robo_reward/PegInsert-v0"), "runs/stages/train-reward-...", gamma=0.99)

Shaping by a potential leaves the best policy as it is when the agent discounts by the same `gamma` and bootstraps after
a time-out. Ng, Harada and Russell 1999.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.references import References
from robo_reward.progress.tracker import ProgressTracker, TrackerSettings
from robo_reward.settings import unknown
from robo_reward.shaping.schemes import SCHEMES, WHOLE_EPISODES


class TrainedReward(Protocol):
    """What `robo_reward.progress.reward_model.load_reward` returns, or a stand-in."""

    @property
    def model(self) -> ProcessRewardModel: ...

    @property
    def references(self) -> References: ...

    @property
    def tracker(self) -> TrackerSettings: ...


class ProgressReward(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Adds gamma Phi' (1 - terminated) - Phi to the task's reward; Phi is 0 in a terminal state, not at a time-out.

    Phi is the tracked progress: asked for at the first observation, every `tracker.every` steps (a setting of the
    trained model) and when the episode ends, and held in between. info["progress"] is Phi in [0, 1] as seen, also in a
    terminal state; info["task_reward"] is the task's own reward. Wrappers that end episodes belong inside this one.

    Args:
        env: a world with `render_views` (see `robo_reward.interfaces.QueryableWorld`), whose pictures have the model's
            size, and which tells its instruction in `info["instruction"]` or as an attribute.
        reward_model: folder that `robo-reward train-reward` left, or a loaded model.
        gamma: the agent's discount a step, in (0, 1].
        scale: multiplies the potential, at least 0.
        shaping: `potential`, or `none` and `naive` as controls.

    Raises:
        FileNotFoundError, ValueError: a missing or damaged model, an argument out of range, a world without views;
            at reset: an instruction or pictures that the model does not know.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        reward_model: str | Path | TrainedReward,
        gamma: float = 0.99,
        scale: float = 1.0,
        shaping: str = "potential",
    ) -> None:
        named = str(reward_model) if isinstance(reward_model, Path) else reward_model
        arguments: dict[str, Any] = {"reward_model": named, "gamma": gamma, "scale": scale, "shaping": shaping}
        gymnasium.utils.RecordConstructorArgs.__init__(self, **arguments)  # so that Gymnasium can make copies
        gymnasium.Wrapper.__init__(self, env)
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma={gamma} outside (0, 1]: give the agent's discount")
        if not 0 <= scale < float("inf"):
            raise ValueError(f"scale={scale}: expected a finite number of at least 0")
        if shaping not in SCHEMES:
            raise ValueError(unknown("shaping", shaping, SCHEMES))
        if shaping in WHOLE_EPISODES:
            raise ValueError(f"shaping={shaping!r} needs whole episodes and cannot be paid live: use 'potential'")
        try:
            self._views = env.get_wrapper_attr("render_views")
        except AttributeError:
            raise ValueError(
                f"{env} has no render_views(), which gives the cameras' pictures as view -> uint8 (H, W, 3): add it"
            ) from None
        if isinstance(reward_model, (str, Path)):
            from robo_reward.progress.models.feature_cache import FeatureCache
            from robo_reward.progress.reward_model import load_reward

            reward_model = load_reward(Path(reward_model), FeatureCache(64))
        self.reward_model: TrainedReward = reward_model
        self.gamma, self.scale, self.shaping = float(gamma), float(scale), shaping
        self._tracker: ProgressTracker | None = None
        self._phi = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; info also holds `progress`."""
        observation, info = self.env.reset(seed=seed, options=options)
        instruction = info["instruction"] if "instruction" in info else self.env.get_wrapper_attr("instruction")
        self._tracker = ProgressTracker(self.reward_model.references, instruction, self.reward_model.tracker)
        self._phi = self._progress(final=False)
        return observation, {**info, "progress": self._phi}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The world's step with the shaped reward; info also holds `progress` and `task_reward`."""
        observation, task, terminated, truncated, info = self.env.step(action)
        phi = self._progress(final=bool(terminated or truncated))
        shaped = SCHEMES[self.shaping](
            np.array([float(task)]), np.array([[self._phi, phi]]), np.array([1]), np.array([bool(terminated)]),
            gamma=self.gamma, scale=self.scale,
        )  # fmt: skip
        self._phi = phi
        return (
            observation, float(shaped[0]), bool(terminated), bool(truncated),
            {**info, "progress": phi, "task_reward": float(task)},
        )  # fmt: skip

    def _progress(self, final: bool) -> float:
        """The potential of the present observation; views are rendered only where they are asked for."""
        if self._tracker is None:
            raise ValueError("step() before reset(): begin an episode first")
        query = self._tracker.query(self._views() if final or self._tracker.due else None, final)
        if query is None:
            return self._phi
        return self._tracker.apply(self.reward_model.model.hop(query)).phi

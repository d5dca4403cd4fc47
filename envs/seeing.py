"""Worlds whose cameras are looked through at every step, for policies that see."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    from robo_reward.progress.frame_features import FrameFeatures


class Seeing(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Renders all cameras once a step and gives on what policies need of it, as late as the observation beside it is.

    Args:
        env: a world with `render_views`.
        features: the frozen encoder whose embedding is added to the observation as `features`; None adds none.
        show: whether `info["views"]` holds the frames, view -> uint8 (H, W, 3).
    """

    def __init__(self, env: gymnasium.Env[Any, Any], features: FrameFeatures | None, show: bool = False) -> None:
        super().__init__(env)
        self._features, self._show = features, show
        self._render = env.get_wrapper_attr("render_views")
        self._views: dict[str, np.ndarray] = {}
        self._rendered: deque[dict[str, np.ndarray]] = deque()
        """Since the episode began, as far back as an observation may be late."""
        if features is not None:
            added = {"features": spaces.Box(-np.inf, np.inf, (features.size,), np.float32)}
            self.observation_space = spaces.Dict({**env.observation_space.spaces, **added})  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The world's own reset, seen."""
        reset = self.env.reset(seed=seed, options=options)
        self._rendered = deque(maxlen=self._late() + 1)
        return self._seen(*reset)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The world's own step, seen."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._seen(observation, info)
        return observation, reward, terminated, truncated, info

    def render_views(self) -> dict[str, np.ndarray]:
        """The frames of the newest observation."""
        return self._views

    def _late(self) -> int:
        """Periods by which this episode's observations are late."""
        name = "observation_latency"
        return int(self.env.get_wrapper_attr(name)) if self.env.has_wrapper_attr(name) else 0

    def _seen(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self._rendered.append(self._render())
        self._views = self._rendered[0]
        if self._features is not None:
            observation = {**observation, "features": self._features(self._views, info["instruction"])}
        return observation, {**info, "views": self._views} if self._show else info

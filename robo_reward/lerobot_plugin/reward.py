"""A trained reward model in the place of LeRobot's success classifier:

    RewardClassifierProcessorStep(reward_classifier=CompletionReward(load_reward(folder), "open the box"))

LeRobot's step asks it at every step, with the pictures of the observation, and ends the episode where it says 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robo_reward.data.video import resize
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.tracker import ProgressTracker
from robo_reward.types import Progress

PREFIX = "observation.images."


class CompletionReward:
    """1 from where the reward model's calibrated rule calls the task done, else 0. `reset` begins an episode.

    reward: of any kind that answers hops. instruction: one that it has references of, else ValueError.
    """

    def __init__(self, reward: RewardModel, instruction: str) -> None:
        self._reward, self._instruction = reward, instruction
        self.reset()

    @property
    def progress(self) -> Progress:
        """What the tracker said last."""
        return self._tracker.progress

    def reset(self) -> None:
        """Forget the episode: the next picture is the first of another."""
        self._tracker = ProgressTracker(self._reward.references, self._instruction, self._reward.tracker)

    def predict_reward(self, batch: Mapping[str, Tensor], threshold: float = 0.5) -> Tensor:
        """The reward of one observation, (1,).

        batch: LeRobot's pictures by `observation.images.CAMERA`, (1, 3, H, W) in [0, 1]. threshold: LeRobot's, for its
        own classifier's probability; the reward model has its own, set on held-out outcomes, so it is not read.
        """
        frames = {key.removeprefix(PREFIX): self._picture(value) for key, value in batch.items() if PREFIX in key}
        query = self._tracker.query(frames)
        if query is not None:
            self._tracker.apply(self._reward.model.hop(query))
        return torch.tensor([float(self._tracker.progress.completed)])

    def _picture(self, value: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
        picture = (value[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().cpu().numpy()
        size = self._reward.model.settings.image_size
        return picture if size is None else resize(picture[None], size)[0]

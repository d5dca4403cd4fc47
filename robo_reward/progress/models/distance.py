"""Distance to a goal picture, as of VIP (arXiv 2210.00030), but without its pretrained features.

The value is the share by which the distance is smaller than at the clip's first frame. The goal is the last frame of
the task's first demonstration, never the clip's own, which would tell how the clip ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.rival import Demonstration, Rival
from robo_reward.types import Frames


class FeatureDistance(Rival):
    """Euclidean distance between embeddings of the trained compact model's encoder, frozen."""

    kind = "feature_distance"
    reads = "clip's first frame, frame, instruction, goal frame of one demonstration"
    goal_T: Tensor

    def __init__(self, settings: CompactSettings, tasks: tuple[str, ...]) -> None:
        super().__init__(settings, tasks)
        self.register_buffer("goal_T", torch.zeros(len(tasks), *self._shape()))

    def _shape(self) -> tuple[int, ...]:
        return (self.settings.features,)

    @torch.no_grad()
    def keep(self, task: int, demonstrations: Sequence[Demonstration]) -> None:
        """The first one's goal."""
        self.goal_T[task] = self.see({v: f[-1:] for v, f in demonstrations[0].frames.items()}, task)[0]

    def read(self, seen: Tensor, task: int) -> Tensor:
        """1 - distance / distance of the first frame."""
        distance = (seen - self.goal_T[task]).flatten(1).norm(dim=1)
        return 1 - distance / distance[0].clamp(min=1e-9)


class PixelDistance(FeatureDistance):
    """Euclidean distance between pictures, all views together."""

    kind = "pixel_distance"
    encoded = False

    def _shape(self) -> tuple[int, ...]:
        size = self.settings.image_size
        return (len(self.settings.views), size, size, 3)

    def see(self, frames: Frames, task: int) -> Tensor:
        """The pictures, in [0, 1]."""
        missing = [view for view in self.settings.views if view not in frames]
        if missing:
            raise ValueError(f"pixel_distance compares all of its views, and {missing[0]} is missing")
        return torch.from_numpy(np.stack([frames[v] for v in self.settings.views], axis=1)).float() / 255

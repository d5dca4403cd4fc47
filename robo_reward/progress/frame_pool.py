"""The frames that a network is trained on: all in memory, shifted and brightened on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from robo_reward.progress.models.compact import unique_combinations
from robo_reward.progress.models.compact_net import FrameEncoder, word_ids
from robo_reward.types import Episode

if TYPE_CHECKING:
    from robo_reward.progress.training import TrainSettings


class FramePool:
    """The training frames of all episodes in one array per view, with augmentation on the way out.

    Instructions are numbered in alphabetical order, frames in that of the episodes.
    """

    def __init__(self, episodes: Sequence[Episode], settings: TrainSettings) -> None:
        self.shift, self.brightness, self.seed = settings.shift, settings.brightness, settings.seed
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.words = torch.from_numpy(np.stack([word_ids(t) for t in sorted({e.instruction for e in episodes})]))
        self.views = tuple(v for v in settings.model.views if v in episodes[0].frames)
        edge = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
        self.frames = {
            v: np.pad(np.concatenate([e.frames[v] for e in episodes]), edge, mode="edge") for v in self.views
        }

    def standardise(self, net: FrameEncoder, views: Sequence[str] | None = None) -> None:
        """`net.standardise` on some of the frames."""
        count = len(next(iter(self.frames.values())))
        some = np.random.default_rng(self.seed).integers(count, size=256)
        net.standardise(self.images(some, self.views), self.words[some % len(self.words)], views)

    def embed(
        self, net: FrameEncoder, index_RB: np.ndarray, task_B: np.ndarray, views: Sequence[str]
    ) -> tuple[Tensor, np.ndarray]:
        """Embeddings of all that a batch needs, each once, and its frames' rows in them (-1 stays -1)."""
        frames, local = np.unique(index_RB[index_RB >= 0], return_inverse=True)
        compact = np.full(index_RB.shape, -1)
        compact[index_RB >= 0] = local
        frame_F, text_F, rows = unique_combinations(compact, task_B, len(frames))
        return net.embed(self.images(frames[frame_F], views), self.words[text_F]), rows

    def images(self, frames: np.ndarray, views: Sequence[str]) -> dict[str, Tensor]:
        """The frames of these pool indices; view -> (N, 3, H, W) in [0, 1].

        A view is shifted the same way for the whole batch (a camera that moved), brightness varies per frame.
        """
        images = {}
        for view in (v for v in views if v in self.frames):
            pool = self.frames[view]
            y, x = torch.randint(0, 2 * self.shift + 1, (2,), generator=self.generator).tolist()
            height, width = (n - 2 * self.shift for n in pool.shape[1:3])
            image = torch.from_numpy(pool[frames, y : y + height, x : x + width]).permute(0, 3, 1, 2).float()
            gain = 1 + self.brightness * (2 * torch.rand(len(frames), 1, 1, 1, generator=self.generator) - 1)
            images[view] = image.mul_(gain / 255.0)
        return images

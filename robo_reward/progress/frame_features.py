"""The reward model's view of single frames, for policies: one embedding for all cameras, under the instruction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from robo_reward.progress.models.compact import CompactModel, checked_frames
from robo_reward.progress.models.compact_net import word_ids
from robo_reward.progress.models.folded_encoder import FoldedEncoder


class FrameFeatures:
    """Frozen visual features; the same frame gives the same features, whatever was asked before."""

    def __init__(self, model: CompactModel) -> None:
        self.model, self.size = model, model.settings.features
        self._encoders: dict[str, FoldedEncoder] = {}

    @torch.no_grad()
    def __call__(
        self, views: Mapping[str, UInt8[np.ndarray, "H W 3"]], instruction: str
    ) -> Float32[np.ndarray, "features"]:
        """Features of one moment's frames; not a number where no view shows anything.

        Raises ValueError for no known camera, or frames of another size or type.
        """
        known = checked_frames({view: frame[None] for view, frame in views.items()}, self.model.settings)
        if instruction not in self._encoders:
            words = torch.from_numpy(word_ids(instruction))
            self._encoders = {instruction: FoldedEncoder(self.model.net, words)}  # an episode has one
        features: np.ndarray = self._encoders[instruction]({view: frames[0] for view, frames in known.items()})[
            0
        ].numpy()
        return features

    @classmethod
    def load(cls, folder: Path) -> FrameFeatures:
        """Of the reward model that `CompactModel.save` wrote; raises as `CompactModel.load`."""
        return cls(CompactModel.load(folder))

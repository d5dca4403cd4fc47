"""Policies that see: the frames of all cameras become a few numbers, learned from the critics' errors alone.

DrQ-v2's convolutions (arXiv 2107.09645) for every camera by itself, but the second layer at stride 2 too, which leaves
a quarter of the arithmetic; then one layer for all cameras. What is learned of a frame must hold wherever it lies a few
pixels aside: frames are shifted at random when they are learned from (DrQ, arXiv 2004.13649).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

FEATURES, CHANNELS = 64, 32
STRIDES = (2, 2, 1, 1)


@dataclass(frozen=True)
class Eyes:
    """The cameras that a policy looks through, in the order of their frames, and the frames' side [px]."""

    views: tuple[str, ...]
    size: int

    def frames(self, views: Mapping[str, UInt8[np.ndarray, "*T H W 3"]]) -> UInt8[np.ndarray, "*T V H W 3"]:
        """The cameras' frames of one moment or several, in order.

        Raises ValueError for a camera that is not there, or frames of another size or type.
        """
        for view in self.views:
            if view not in views:
                raise ValueError(f"the policy looks through camera '{view}', which is not there: {sorted(views)}")
            shape, wanted = views[view].shape[-3:], (self.size, self.size, 3)
            if shape != wanted or views[view].dtype != np.uint8:
                raise ValueError(
                    f"camera '{view}' gives {shape} {views[view].dtype}, the policy looks at {wanted} uint8: set "
                    "env.image_size to the frames' own"
                )
        return np.stack([views[view] for view in self.views], axis=-4)


class PixelEncoder(nn.Module):
    """Frames uint8 (B, V, H, W, 3) -> (B, FEATURES) in [-1, 1]."""

    def __init__(self, eyes: Eyes):
        super().__init__()
        views, inputs = len(eyes.views), 3
        layers: list[Any] = []
        for stride in STRIDES:  # a group of channels for each camera: none sees another's pixels
            layer = nn.Conv2d(views * inputs, views * CHANNELS, 3, stride, groups=views)
            weight, bias = layer.parameters()
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            nn.init.zeros_(bias)
            layers += [layer, nn.ReLU(inplace=True)]
            inputs = CHANNELS
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            size = self.convolutions(torch.zeros(1, 3 * views, eyes.size, eyes.size)).shape[1]
        self.summary = nn.Sequential(nn.Linear(size, FEATURES), nn.LayerNorm(FEATURES), nn.Tanh())

    def forward(self, frames_BVHWC: UInt8[torch.Tensor, "B V H W 3"]) -> Float32[torch.Tensor, "B F"]:
        """What the frames show."""
        planes = frames_BVHWC.permute(0, 1, 4, 2, 3).flatten(1, 2)
        features: torch.Tensor = self.summary(self.convolutions(planes.float().div_(255.0).sub_(0.5)))
        return features


def random_shift(
    frames_BVHWC: UInt8[torch.Tensor, "B V H W 3"], most: int, generator: torch.Generator
) -> UInt8[torch.Tensor, "B V H W 3"]:
    """Every frame by itself moved by -most to `most` whole pixels each way; its edge fills what comes in.

    The numbers are drawn on the CPU, so that they are the same on every device.
    """
    batch, views, height, width, _ = frames_BVHWC.shape
    device = frames_BVHWC.device
    moved = torch.randint(-most, most + 1, (2, batch, views, 1, 1), generator=generator).to(device)
    rows = (torch.arange(height, device=device)[:, None] + moved[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + moved[1]).clamp(0, width - 1)
    which = torch.arange(batch, device=device)[:, None, None, None], torch.arange(views, device=device)[:, None, None]
    return frames_BVHWC[(*which, rows, columns)]

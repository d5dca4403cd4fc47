"""One frame at a time under one instruction, for a live tracker: what `CompactNet.embed` says, in half the time.

With the instruction fixed, its modulation and the standardisation of the pictures are part of the convolutions' weights
and biases. What is left of one frame is little more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from robo_reward.progress.blank import shows_nothing

if TYPE_CHECKING:
    from robo_reward.progress.models.compact_net import CompactNet


class FoldedEncoder:
    """The embedding of single frames under one instruction. The network's weights must not change afterwards."""

    def __init__(self, net: CompactNet, words_L: Int64[Tensor, "L"]) -> None:
        self.net = net
        self._folded = {view: _fold(net, i, words_L) for i, view in enumerate(net.settings.views)}

    def __call__(self, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> Float[Tensor, "1 features"]:
        """The frame's embedding; not a number where no view shows anything."""
        net, parts, seen = self.net, [], False
        for i, view in enumerate(net.settings.views):
            picture = pictures.get(view)
            if picture is None or shows_nothing(picture[None])[0]:
                parts.append(net.no_view[i : i + 1])
                continue
            seen = True
            x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
            for weight, bias, bias_map, stride, padding in self._folded[view]:
                x = functional.conv2d(x, weight, bias, stride, padding)
                x = (x if bias_map is None else x.add_(bias_map)).relu_()
            parts.append(net.views_out[view](x.flatten(1)))
        return net.joined(parts) if seen else torch.full((1, net.settings.features), torch.nan)


def _fold(net: CompactNet, index: int, words_L: Tensor) -> list[tuple[Tensor, Tensor | None, Tensor | None, Any, Any]]:
    """(weight, bias, bias of every pixel, stride, padding) of a view's convolutions, for pixels from 0 to 255."""
    trunk: Any = net.trunks[net.settings.views[index]]
    text = net.text(net.words(words_L[None]).sum(1))
    layers: list[tuple[Tensor, Tensor | None, Tensor | None, Any, Any]] = []
    for convolution, modulation in zip(trunk.convolutions, trunk.modulations, strict=True):
        scale, shift = modulation(text)[0].chunk(2)
        weight = convolution.weight * (1 + scale)[:, None, None, None]
        bias, bias_map = convolution.bias * (1 + scale) + shift, None
        if not layers:  # of the standardised picture (x / 255 - mean) / std; the mean differs by pixel
            weight = weight / net.std_V[index]
            mean = functional.conv2d(net.mean_VCHW[index][None], weight, None, convolution.stride, convolution.padding)
            bias_map = (bias[:, None, None] - mean).contiguous(memory_format=torch.channels_last)
            weight, bias = weight / 255, None
        weight = weight.contiguous(memory_format=torch.channels_last)
        layers.append((weight, bias, bias_map, convolution.stride, convolution.padding))
    return layers

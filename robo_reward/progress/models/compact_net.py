"""The embedded reward model's network: a small multi-view one from scratch.

One convolutional trunk per view (views differ more than frames do), modulated by the instruction, joined into one
embedding per (frame, instruction); a head over the embeddings of before, after, start and goal gives a distribution
over hop bins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

WORDS, WORDS_PER_INSTRUCTION = 256, 24
TARGETS = ("hop", "absolute", "difference")


@dataclass(frozen=True)
class CompactSettings:
    """The network's shape; part of its id."""

    views: tuple[str, ...] = ("front", "side", "wrist")
    image_size: int = 84
    stages: int = 4
    channels: tuple[int, ...] = (32, 48, 48)
    kernels: tuple[int, ...] = (4, 3, 3)
    """Patches of 4 x 4 first: on a CPU twice as fast as small strided kernels, and more accurate at equal time."""
    strides: tuple[int, ...] = (4, 2, 1)
    view_features: int = 96
    features: int = 128
    hidden: int = 256
    hop_bins: int = 25
    target: str = "hop"
    """What the head says of two frames: their hop; `absolute`, the later one's potential; or `difference`, the plain
    one. The last two are controls. `CompactModel.hop` answers hops, but plain differences of a `difference` model."""

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target={self.target!r}: expected one of {', '.join(TARGETS)}")
        if not 1 <= len(self.views) <= 8 or len(set(self.views)) != len(self.views):
            raise ValueError(f"views={list(self.views)}: expected 1 to 8 different camera names")
        if self.stages < 1:
            raise ValueError(f"stages={self.stages}: expected at least 1")
        if not 32 <= self.image_size <= 256:
            raise ValueError(f"image_size={self.image_size} outside [32, 256] pixels")
        if self.hop_bins < 3:
            raise ValueError(f"hop_bins={self.hop_bins}: expected at least 3")


def check_names(views: Iterable[str]) -> None:
    """Raises ValueError for a camera that no torch module can be named after."""
    for view in views:
        if not view or "." in view or hasattr(nn.ModuleDict(), view):
            raise ValueError(
                f"camera {view!r}: a name has a letter at least, no dot, and is none of torch's own as 'type' is; "
                "rename the camera"
            )


def word_ids(instruction: str) -> Int64[np.ndarray, "24"]:
    """Hashed word numbers in [1, 255], 0 for padding: a vocabulary that needs no file."""
    words = "".join(c if c.isalnum() else " " for c in instruction.lower()).split()[:WORDS_PER_INSTRUCTION]
    ids = np.zeros(WORDS_PER_INSTRUCTION, dtype=np.int64)
    for i, word in enumerate(words):
        ids[i] = 1 + int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % (WORDS - 1)
    return ids


class _Trunk(nn.Module):
    """One view's convolutions, each modulated by the instruction: (N, 3, H, W) in [0, 1] -> (N, C, h, w)."""

    def __init__(self, settings: CompactSettings, text: int) -> None:
        super().__init__()
        channels = settings.channels
        shapes = zip((3, *channels[:-1]), channels, settings.kernels, settings.strides, strict=True)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n, c, k, stride=s, padding=(k - 1) // 2 if k % 2 else 0) for n, c, k, s in shapes
        )
        self.modulations = nn.ModuleList(nn.Linear(text, 2 * c) for c in channels)

    def forward(
        self, image_NCHW: Float[Tensor, "N 3 H W"], text_Nt: Float[Tensor, "N text"]
    ) -> Float[Tensor, "N C h w"]:
        x = image_NCHW
        for convolution, modulation in zip(self.convolutions, self.modulations, strict=True):
            scale, shift = modulation(text_Nt)[:, :, None, None].chunk(2, dim=1)
            x = torch.relu(torch.addcmul(shift, convolution(x), 1 + scale))
        return x


class FrameEncoder(nn.Module):
    """Trunks and join: the frames of one moment, under an instruction, as one embedding."""

    mean_VCHW: Tensor
    std_V: Tensor

    def __init__(self, settings: CompactSettings) -> None:
        super().__init__()
        check_names(settings.views)
        s = self.settings = settings
        text = 32
        self.words = nn.Embedding(WORDS, text, padding_idx=0)
        self.text = nn.Sequential(nn.Linear(text, 64), nn.ReLU(), nn.Linear(64, text), nn.LayerNorm(text))
        self.trunks = nn.ModuleDict({v: _Trunk(s, text) for v in s.views})
        with torch.no_grad():
            blank = torch.zeros(1, 3, s.image_size, s.image_size)
            flat = self.trunks[s.views[0]](blank, torch.zeros(1, text)).numel()
        self.register_buffer("mean_VCHW", torch.full((len(s.views), 3, s.image_size, s.image_size), 0.5))
        self.register_buffer("std_V", torch.full((len(s.views),), 0.25))
        self.views_out = nn.ModuleDict({v: nn.Linear(flat, s.view_features) for v in s.views})
        self.no_view = nn.Parameter(torch.zeros(len(s.views), s.view_features))
        joined = s.view_features * len(s.views)
        self.join_norm, self.join = nn.LayerNorm(joined), nn.Linear(joined, s.features)
        self.norm = nn.LayerNorm(s.features)

    def embed(
        self,
        images: Mapping[str, Float[Tensor, "F 3 H W"]],
        words_FL: Int64[Tensor, "F L"],
        blank: Mapping[str, np.ndarray] | None = None,
    ) -> Float[Tensor, "F features"]:
        """Embeddings of F frames, each under its instruction; a view without images is replaced by a learned token.

        The sum, not the mean, of the word vectors: instructions often differ in a single word.
        blank: view -> which of its F images count as missing; a frame without any other is not a number.
        """
        s = self.settings
        text = self.text(self.words(words_FL).sum(1))
        parts = [
            self.views_out[view](self.trunks[view]((images[view] - self.mean_VCHW[i]) / self.std_V[i], text).flatten(1))
            if view in images
            else self.no_view[i].expand(len(words_FL), -1)
            for i, view in enumerate(s.views)
        ]
        if blank is None or not any(b.any() for b in blank.values()):
            return self.joined(parts)
        for view, b in blank.items():
            i = s.views.index(view)
            parts[i] = torch.where(torch.from_numpy(b)[:, None], self.no_view[i], parts[i])
        nothing = torch.from_numpy(np.logical_and.reduce(list(blank.values())))
        return torch.where(nothing[:, None], torch.nan, self.joined(parts))

    def joined(self, parts: Sequence[Float[Tensor, "F view_features"]]) -> Float[Tensor, "F features"]:
        """The embedding of frames from the features of their views, in order."""
        return self.norm(self.join(torch.relu(self.join_norm(torch.cat(list(parts), dim=1)))))

    @torch.no_grad()
    def standardise(
        self,
        images: Mapping[str, Float[Tensor, "F 3 H W"]],
        words_FL: Int64[Tensor, "F L"],
        views: Sequence[str] | None = None,
    ) -> None:
        """Subtract these frames' mean image, and scale the untrained projections to mean 0 and deviation 1 over them.

        Frames of one scene are nearly equal: without this, what differs between them drowns in what they share.
        views: only these, new ones of a trained network, whose joint projection stays; default all.
        """
        for view in images if views is None else views:
            i = self.settings.views.index(view)
            self.mean_VCHW[i] = images[view].mean(0)
            self.std_V[i] = (images[view] - self.mean_VCHW[i]).std() + 1e-3
        layers = [cast(nn.Linear, self.views_out[v]) for v in (images if views is None else views)]
        layers += [self.join] if views is None else []
        for layer in layers:
            seen: list[Tensor] = []
            hook = layer.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
            self.embed(images, words_FL)
            hook.remove()
            std, mean = torch.std_mean(seen[0], dim=0)
            layer.weight /= std[:, None] + 1e-3
            layer.bias.copy_((layer.bias - mean) / (std + 1e-3))


class CompactNet(FrameEncoder):
    """The trainable part; see `CompactModel` for the contract."""

    centres: Tensor

    def __init__(self, settings: CompactSettings) -> None:
        super().__init__(settings)
        s = settings
        self.no_reference = nn.Parameter(torch.zeros(2, s.features))
        self.head = nn.Sequential(
            nn.Linear(5 * s.features, s.hidden), nn.ReLU(), nn.Linear(s.hidden, s.hidden), nn.ReLU(),
            nn.Linear(s.hidden, s.hop_bins),
        )  # fmt: skip
        self.stage = nn.Linear(s.features, s.stages + 1)
        self.register_buffer("centres", torch.linspace(-1, 1, s.hop_bins), persistent=False)

    def logits(
        self,
        z_Ff: Float[Tensor, "F features"],
        before_B: Int64[Tensor, "B"],
        after_B: Int64[Tensor, "B"],
        start_B: Int64[Tensor, "B"],
        goal_B: Int64[Tensor, "B"],
    ) -> Float[Tensor, "B bins"]:
        """Hop-bin logits; indices into z, -1 for a missing reference."""
        table = torch.cat([z_Ff, self.no_reference])
        n = len(z_Ff)
        start, goal = torch.where(start_B < 0, n, start_B), torch.where(goal_B < 0, n + 1, goal_B)
        # The potential of a frame is no matter of another one.
        b, a = table[start if self.settings.target == "absolute" else before_B], table[after_B]
        return self.head(torch.cat([b, a, a - b, table[start], table[goal]], dim=1))

    def expectation(self, logits: Float[Tensor, "B bins"]) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
        """Mean and standard deviation of the hop."""
        p = logits.softmax(-1)
        mean = p @ self.centres
        return mean, ((p * (self.centres - mean[:, None]) ** 2).sum(-1)).clamp(min=0).sqrt()

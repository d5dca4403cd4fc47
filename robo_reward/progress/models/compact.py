"""The embedded reward model: a small multi-view network from scratch that answers hop questions.

One convolutional trunk per view (views differ more than frames do), modulated by the instruction, joined into one
embedding per (frame, instruction); a head over the embeddings of before, after, start and goal gives a distribution
over hop bins: its expectation is the hop, its spread the confidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.models.folded_encoder import FoldedEncoder
from robo_reward.progress.tracker import confidence_from_std
from robo_reward.types import Frames, HopEstimate, HopQuery

WORDS, WORDS_PER_INSTRUCTION = 256, 24
TARGETS = ("hop", "absolute", "difference")
CHUNK = 64
"""Frames embedded at once: what stays in the caches of a small machine."""
SAME = 1e-5
"""Difference of embeddings, whose features are of size 1, that rounding makes of equal frames."""
ALONE = 16
"""Distinct frames of a query above which batches win over a cache, whose frames are embedded one by one."""

ENCODERS = 16
"""Instructions whose `FoldedEncoder` is kept."""


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


class CompactModel:
    """A `ProcessRewardModel` around a trained `CompactNet`.

    With a cache, small queries, such as a live tracker's, encode each new frame once and on its own; what the cache
    holds never changes an answer. All others are encoded in batches; the two ways agree up to rounding. The weights
    must not change afterwards.
    """

    kind = "compact"

    def __init__(self, net: CompactNet, cache: FeatureCache | None = None) -> None:
        self.net, self.cache = net.eval(), cache
        self.settings = net.settings
        self._encoders: dict[str, FoldedEncoder] = {}
        self.model_id = f"compact-{_weights_digest(net)}"

    @torch.inference_mode()
    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs; every distinct (frame, instruction) is embedded once.

        Frames: any non-empty subset of the model's views, uint8, image_size square. Raises ValueError otherwise. A
        picture that shows nothing counts as missing, and a pair with a frame of only such pictures has no answer.
        """
        if len(query) == 0:
            empty = np.zeros(0, np.float32)
            return HopEstimate(empty, empty, np.zeros(0, bool))
        frames = checked_frames(query.frames, self.settings)
        instructions = sorted(set(query.instruction_B))
        text = np.searchsorted(instructions, query.instruction_B)
        index = np.stack([query.before_B, query.after_B, query.reference_start_B, query.reference_goal_B])
        frame_F, text_F, rows = unique_combinations(index, text, len(next(iter(frames.values()))))
        if self.cache is None or len(frame_F) > ALONE:
            words = torch.from_numpy(np.stack([word_ids(t) for t in instructions]))
            parts = [
                self._embed(frames, frame_F[i : i + CHUNK], words[text_F[i : i + CHUNK]])
                for i in range(0, len(frame_F), CHUNK)
            ]
        else:
            parts = [
                self._remembered(frames, n, instructions[t], query.keys_N)
                for n, t in zip(frame_F.tolist(), text_F.tolist(), strict=True)
            ]
        hop, spread = self._answers(torch.cat(parts), rows)
        valid = np.isfinite(hop) & np.isfinite(spread)
        hop = np.where(valid, np.clip(hop, -1, 1), 0).astype(np.float32)
        return HopEstimate(hop, np.where(valid, confidence_from_std(spread), 0).astype(np.float32), valid)

    def _answers(self, z: Tensor, rows: Int64[np.ndarray, "4 B"]) -> tuple[np.ndarray, np.ndarray]:
        """What the head's target says as hops (or differences), and their standard deviations."""
        mean, std = (x.numpy() for x in self.net.expectation(self.net.logits(z, *torch.from_numpy(rows))))
        before, after, start, goal = rows
        if self.settings.target != "absolute":
            # What looks the same has not moved, whatever bias the head has: a still scene must not drift.
            moved = ((z[before] - z[after]).abs().amax(1) > SAME).numpy()
            return mean * moved, std
        swapped = torch.from_numpy(np.stack([start, before, start, goal]))
        first = self.net.expectation(self.net.logits(z, *swapped))[0].numpy()
        first = np.where(before == start, 0.0, np.where(before == goal, 1.0, first))  # the references' own are known
        known = np.isfinite(first) & np.isfinite(mean)
        p, q = (np.where(known, np.clip(x, 0, 1), 0.0) for x in (first, mean))
        spread = std / np.maximum(np.where(q >= p, 1 - p, p), 1e-3)
        return hop_from_potentials(p, q), np.where(known, spread, np.nan)

    @torch.no_grad()
    def features(
        self, frames: Mapping[str, UInt8[np.ndarray, "N H W 3"]], instruction: str
    ) -> Float32[np.ndarray, "N features"]:
        """The embedding of N frames under one instruction. Frames and errors as in `hop`."""
        known = checked_frames(frames, self.settings)
        count = len(next(iter(known.values())))
        words = torch.from_numpy(word_ids(instruction))[None]
        parts = [
            self.net.embed({v: to_images(f[i : i + CHUNK]) for v, f in known.items()}, words.expand(n, -1))
            for i in range(0, count, CHUNK)
            for n in (min(CHUNK, count - i),)
        ]
        return torch.cat(parts).numpy()

    def _embed(self, frames: Frames, frame_F: np.ndarray, words_FL: Tensor) -> Tensor:
        chosen = {v: f[frame_F] for v, f in frames.items()}
        blank = {v: shows_nothing(f) for v, f in chosen.items()}
        return self.net.embed({v: to_images(f) for v, f in chosen.items()}, words_FL, blank)

    def _remembered(self, frames: Frames, n: int, instruction: str, keys_N: tuple[Hashable, ...] | None) -> Tensor:
        """The embedding of one frame, from the cache where it is known. Its pixels are the key if it has no other."""
        assert self.cache is not None
        if instruction not in self._encoders:
            if len(self._encoders) == ENCODERS:
                del self._encoders[next(iter(self._encoders))]
            self._encoders[instruction] = FoldedEncoder(self.net, torch.from_numpy(word_ids(instruction)))
        encoder = self._encoders[instruction]
        name = tuple(f[n].tobytes() for f in frames.values()) if keys_N is None else keys_N[n]
        return self.cache.get((instruction, tuple(frames), name), lambda: encoder({v: f[n] for v, f in frames.items()}))

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and their description with checksum (json)."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "compact.safetensors"
        save_file({k: v.contiguous() for k, v in self.net.state_dict().items()}, weights)
        description = {
            "kind": "compact",
            "model_id": self.model_id,
            "settings": asdict(self.settings),
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        }
        (folder / "compact.json").write_text(json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, cache: FeatureCache | None = None) -> CompactModel:
        """Read what `save` wrote. Raises FileNotFoundError, or ValueError for files that do not match each other."""
        weights, description_file = folder / "compact.safetensors", folder / "compact.json"
        for path in (weights, description_file):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no trained reward model here; run train-reward first")
        try:
            description = json.loads(description_file.read_text())
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in description["settings"].items()
            }
            settings = CompactSettings(**values)
            expected = description["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{description_file}: not a description of a reward model ({error}); train it again"
            ) from error
        if hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"{weights}: checksum differs from {description_file.name}; the file is damaged, train it again"
            )
        net = CompactNet(settings)
        try:
            net.load_state_dict(load_file(weights))
        except RuntimeError as error:
            raise ValueError(f"{weights}: weights of another network than this version's; train it again") from error
        return cls(net, cache)


def checked_frames(frames: Mapping[str, np.ndarray], settings: CompactSettings) -> dict[str, np.ndarray]:
    """Those of the frames that the model knows. Raises ValueError for none, or another size or type."""
    size = settings.image_size
    known = {v: frames[v] for v in settings.views if v in frames}
    if not known:
        raise ValueError(f"cameras {sorted(frames)}: the reward model knows {sorted(settings.views)}")
    for view, f in known.items():
        if f.dtype != np.uint8 or f.shape[1:] != (size, size, 3):
            raise ValueError(f"view {view}: frames {f.shape} {f.dtype}, expected (N, {size}, {size}, 3) uint8")
    return known


def to_images(frames: np.ndarray) -> Float[Tensor, "N 3 H W"]:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float in [0, 1], laid out channels last."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().div_(255.0)


def unique_combinations(
    index_4B: Int64[np.ndarray, "4 B"], text_B: Int64[np.ndarray, "B"], frames: int
) -> tuple[Int64[np.ndarray, "F"], Int64[np.ndarray, "F"], Int64[np.ndarray, "4 B"]]:
    """The distinct (frame, instruction) pairs of a batch, and the batch's indices into them (-1 stays -1).

    Any number of rows; the instruction goes with the column.
    """
    key = np.where(index_4B < 0, -1, text_B[None] * frames + index_4B)
    distinct, inverse = np.unique(key, return_inverse=True)
    inverse = inverse.reshape(key.shape)
    if distinct[0] == -1:
        distinct, inverse = distinct[1:], inverse - 1
    return distinct % frames, distinct // frames, inverse


def _weights_digest(net: CompactNet) -> str:
    sha = hashlib.sha256(json.dumps(asdict(net.settings), sort_keys=True).encode())
    for name, tensor in sorted(net.state_dict().items()):
        sha.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]

"""The embedded reward model: answers hop questions with a `CompactNet`.

The expectation of the network's distribution over hop bins is the hop, its spread the confidence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings, word_ids
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.models.folded_encoder import FoldedEncoder
from robo_reward.progress.tracker import confidence_from_std
from robo_reward.types import Frames, HopEstimate, HopQuery

CHUNK = 64
"""Frames embedded at once: what stays in the caches of a small machine."""
SAME = 1e-5
"""Difference of embeddings, whose features are of size 1, that rounding makes of equal frames."""
ALONE = 16
"""Distinct frames of a query above which batches win over a cache, whose frames are embedded one by one."""

ENCODERS = 16
"""Instructions whose `FoldedEncoder` is kept."""


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

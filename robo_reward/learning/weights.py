"""Weights on disk: one safetensors file that carries its header and checksum, replaced whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from robo_reward.data.disk import replace_file


def digest_of(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 (hex) over names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write `path`.safetensors with `header` (JSON values) and the weights' sha256 in its metadata, synced.

    One file, so that a crash leaves either the old checkpoint or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps(dict(header), sort_keys=True)
    checksum = hashlib.sha256((digest_of(plain) + text).encode()).hexdigest()
    data = save(plain, metadata={"header": text, "sha256": checksum})
    final = path.with_suffix(".safetensors")
    replace_file(final, data)


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and header that `save_weights` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or weights or header are not those that were written.
    """
    final = path.with_suffix(".safetensors")
    if not final.is_file():
        raise FileNotFoundError(f"no weights at {final}; train first or point at another folder")
    try:
        with safe_open(final, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        text, expected = metadata["header"], metadata["sha256"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{final} does not hold weights of this project ({error}): train again") from error
    if hashlib.sha256((digest_of(weights) + text).encode()).hexdigest() != expected:
        raise ValueError(f"{final} does not match its own checksum: train again")
    return weights, json.loads(text)

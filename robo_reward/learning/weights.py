"""Weights on disk: safetensors plus a JSON header that carries their sha256, written so that a crash leaves the old."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save


def digest_of(weights: Mapping[str, torch.Tensor]) -> str:
    """First 12 hex digits of the sha256 over names, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:12]


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write `path`.safetensors, then `path`.json holding `header` and the weights' sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    _replace(path.with_suffix(".safetensors"), data)
    text = json.dumps({**header, "sha256": hashlib.sha256(data).hexdigest()}, sort_keys=True, indent=1)
    _replace(path.with_suffix(".json"), text.encode())


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote; FileNotFoundError when missing, ValueError when the checksum differs."""
    for suffix in (".json", ".safetensors"):
        if not path.with_suffix(suffix).is_file():
            raise FileNotFoundError(f"no weights at {path.with_suffix(suffix)}; train first or point at another folder")
    header = json.loads(path.with_suffix(".json").read_text())
    data = path.with_suffix(".safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != header.get("sha256"):
        raise ValueError(f"{path.with_suffix('.safetensors')} does not match the checksum in its .json: train again")
    return load(data), header


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)

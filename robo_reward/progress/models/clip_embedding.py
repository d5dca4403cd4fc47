"""Pictures and texts as unit vectors of a CLIP model from a local folder or the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from robo_reward.data.torchvision_cure import cure
from robo_reward.progress.models.vlm_files import chosen_device, find_vlm


@dataclass(frozen=True)
class ClipEmbedding:
    """A loaded model."""

    model: Any
    processor: Any

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[np.ndarray], unit: bool = True) -> Float64[np.ndarray, "N d"]:
        """pictures: (H, W, 3) uint8. unit: of length 1, or as the model gives them."""
        from PIL import Image

        inputs = self.processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")
        return _vectors(self.model.get_image_features(**inputs.to(self.model.device)), unit)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], unit: bool = True) -> Float64[np.ndarray, "N d"]:
        """Beyond the model's context they are cut off."""
        inputs = self.processor(text=list(texts), padding=True, truncation=True, return_tensors="pt")
        return _vectors(self.model.get_text_features(**inputs.to(self.model.device)), unit)

    @cached_property
    def known(self) -> dict[str, Float64[np.ndarray, "d"]]:
        """Texts that were looked up before."""
        return {}

    def text(self, text: str) -> Float64[np.ndarray, "d"]:
        """One text's vector, computed once."""
        if text not in self.known:
            self.known[text] = self.texts([text])[0]
        return self.known[text]


def load_clip(source: str, revision: str | None = None, device: str = "auto") -> ClipEmbedding:
    """The CLIP model in a folder or on the hub, safetensors only.

    Raises ValueError as `vlm_files.find_vlm`, and for another architecture or files that do not make a model.
    """
    cure()
    from safetensors import SafetensorError
    from transformers import AutoProcessor, CLIPModel

    folder = find_vlm(source, revision)
    try:
        architecture = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder}: no readable config.json ({error}); give the folder of a CLIP model") from error
    if architecture != "clip":
        raise ValueError(f"{folder}: architecture {architecture!r}, and this reward model asks CLIP (model_type clip)")
    try:
        model: Any = CLIPModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}: cannot be loaded ({reason}); download the model again") from error
    return ClipEmbedding(model.to(chosen_device(device)).eval(), processor)


def _vectors(features: Any, unit: bool) -> Float64[np.ndarray, "N d"]:
    values = (features if isinstance(features, torch.Tensor) else features.pooler_output).double().cpu().numpy()
    vectors: np.ndarray = values / np.linalg.norm(values, axis=1, keepdims=True) if unit else values
    return vectors

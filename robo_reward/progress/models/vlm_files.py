"""Vision-language models from a local folder or the hub: checked first, loaded without running code from them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_reward.data.torchvision_cure import cure

ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl")
"""`model_type` of config.json: GRM-3B and 8B, and 2.0-Preview 4B and 8B."""
TOKENIZERS = ("tokenizer.json", "vocab.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
WANTED = ("*.json", "*.safetensors", "*.txt", "*.jinja")
"""What is downloaded: no code, no pickles."""
REVISION = re.compile(r"[0-9a-f]{40}")
SAMPLES, SAMPLE = 256, 4096
"""Blocks of a weights file, and their bytes, that its fingerprint is taken of."""


@dataclass(frozen=True)
class Vlm:
    """A loaded model, ready to answer."""

    model: Any
    processor: Any
    architecture: str
    weights: str
    """Twelve hex digits that name weights, tokenizer and processor."""
    precision: str
    """bfloat16, float32 or 4bit."""

    @property
    def device(self) -> Any:
        """Where its weights are."""
        return self.model.device


def find_vlm(source: str, revision: str | None = None) -> Path:
    """The local folder of a model, downloaded from the hub where `source` is a hub id.

    Args:
        source: folder, or OWNER/NAME on the hub.
        revision: commit on the hub, 40 hex digits; only for a hub id.

    Raises:
        ValueError: no such folder or model, a hub id without a pinned revision, a folder with one.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"reward.revision={revision} with the local folder {folder}: leave it out")
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or source.startswith("."):
        raise ValueError(f"reward.model={source}: no such folder, and no hub id, which are written OWNER/NAME")
    if revision is None or not REVISION.fullmatch(revision):
        raise ValueError(
            f"reward.model={source} with reward.revision={revision}: there is no such folder, and a model of the hub "
            "needs a pinned revision, the 40 hex digits of a commit (its page lists them)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(WANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"reward.model={source} at {revision[:12]}: cannot be downloaded ({reason}); give a local folder"
        ) from error


def check_vlm(folder: Path, architectures: tuple[str, ...] | None = ARCHITECTURES) -> str:
    """The architecture of the model in this folder, one of `architectures`, or any where None.

    Raises ValueError, in one line, for what cannot be loaded.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ValueError(f"{folder}: no config.json, so no model of transformers; give the folder of its files")
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        architecture = found.get("model_type")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{config}: not a model's description ({error}); download it again") from error
    if architectures and architecture not in architectures:
        raise ValueError(f"{config}: architecture {architecture!r}; reward=grm knows {' and '.join(architectures)}")
    for what, names in (("tokenizer", TOKENIZERS), ("image processor", PROCESSORS)):
        if not any((folder / name).is_file() for name in names):
            raise ValueError(f"{folder}: no {what} ({' or '.join(names)}); copy it from the model that this one is of")
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise ValueError(
                f"{folder}: weights are pickles ({pickles[0]}), which run code when they are read: convert them to "
                "safetensors where you trust them"
            )
        raise ValueError(f"{folder}: no weights (*.safetensors); download the model again")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError) as error:
            raise ValueError(f"{index}: not a list of weights ({error}); download the model again") from error
        if missing := sorted(name for name in shards if not (folder / name).is_file()):
            raise ValueError(f"{folder}: {len(missing)} of {len(shards)} weight files missing, such as {missing[0]}")
    return str(architecture)


def load_vlm(
    source: str, revision: str | None = None, device: str = "auto", four_bit: bool = False,
    architectures: tuple[str, ...] | None = ARCHITECTURES,
) -> Vlm:  # fmt: skip
    """A model for answering: bfloat16 on a GPU, float32 on the processor.

    Args:
        source: as of `find_vlm`.
        revision: as of `find_vlm`.
        device: auto, cpu or cuda.
        four_bit: hold weights in 4 bits; needs a GPU and bitsandbytes.
        architectures: as of `check_vlm`.

    Raises:
        ValueError: as of `find_vlm` and `check_vlm`; no such device; files that do not make a model.
    """
    cure()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig
    from transformers.utils import logging

    folder = find_vlm(source, revision)
    architecture = check_vlm(folder, architectures)
    device = chosen_device(device)
    if four_bit and (device != "cuda" or importlib.util.find_spec("bitsandbytes") is None):
        raise ValueError("reward.four_bit=true needs a GPU and the package bitsandbytes: leave it out")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    quantisation = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype) if four_bit else None
    logging.disable_progress_bar()
    model: Any
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, device_map={"": device} if four_bit else None, attn_implementation="sdpa",
            trust_remote_code=False, use_safetensors=True, local_files_only=True, quantization_config=quantisation,
        )  # fmt: skip
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{folder}: cannot be loaded ({reason}); download the model again") from error
    if not four_bit:
        model = model.to(device)
    precision = "4bit" if four_bit else str(dtype).removeprefix("torch.")
    return Vlm(model.eval(), processor, architecture, fingerprint(folder), precision)


def check_context(vlm: Vlm, tokens: int) -> None:
    """Raises ValueError for a question of more tokens, with its answer, than the model's context has."""
    longest = vlm.model.config.get_text_config().max_position_embeddings
    if tokens > longest:
        raise ValueError(
            f"the question has {tokens} tokens, the model's context {longest}: shorten the instruction, or give "
            "smaller pictures"
        )


def chosen_device(device: str) -> str:
    """cpu or cuda. Raises ValueError for cuda where torch has none."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("reward.device=cuda: torch sees no GPU here, use auto or cpu")
    return device


def fingerprint(folder: Path) -> str:
    """Twelve hex digits of all small files and of blocks, evenly spread, of the weights."""
    sha = hashlib.sha256()
    for file in sorted(f for pattern in WANTED for f in folder.glob(pattern)):
        size = file.stat().st_size
        sha.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            if size <= SAMPLES * SAMPLE or file.suffix != ".safetensors":
                sha.update(stream.read())
                continue
            for block in range(SAMPLES):
                stream.seek(block * (size - SAMPLE) // (SAMPLES - 1))
                sha.update(stream.read(SAMPLE))
    return sha.hexdigest()[:12]

"""Can this machine use a vision-language model: the memory it takes, and what it says of one pair of pictures."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from robo_reward.progress.models.grm import GrmModel
from robo_reward.progress.models.grm_prompt import read_distribution
from robo_reward.progress.models.grm_query import questions_of
from robo_reward.types import HopQuery

GIB = 2**30
KEPT = 3 * GIB
"""Pictures' features and key-value caches at most, and what one pass takes."""
PAIR_SIZE = 128
"""Sides of the drawn pictures [pixels]."""
INSTRUCTION = "push the red block into the blue frame"


def memory_needed(folder: Path, device: str, four_bit: bool = False) -> int:
    """Bytes that the weights in this folder take when they are loaded, with what answering takes beside them.

    Raises ValueError for a file that is no safetensors.
    """
    numbers = sum(_numbers(file) for file in sorted(folder.glob("*.safetensors")))
    return int(numbers * (0.6 if four_bit else 2 if device == "cuda" else 4)) + KEPT


def memory_here(device: str) -> int:
    """Free bytes of the GPU, or of the machine."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo: does not tell the available memory")


def bundled_pair(model: GrmModel) -> tuple[bool, str]:
    """Whether the model answers about two drawn pictures, and what it says, in words."""
    frames = np.stack([drawn(0.0), drawn(1.0)])
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    query = HopQuery({model.settings.views[0]: frames}, zero, one, zero, one, (INSTRUCTION,))
    answer = model.hop(query)
    if answer.valid_B[0]:
        return True, f"from start to goal {answer.hop_B[0]:+.0%}, confidence {answer.confidence_B[0]:.2f}"
    if model.settings.answer == "sampled":
        return False, "two sampled texts held no <score>+NN%</score>: no general reward model, fine-tune it first"
    questions, pixels = questions_of(query, query.frames)
    mass = read_distribution(model.asker.ask(questions[0], pixels)).mass_B[0]
    if not np.isfinite(mass):
        return False, "the model's numbers are not finite: its weights are damaged, download it again"
    return False, (
        f"probability {mass:.1g} of an answer <score>+NN%</score>, {model.settings.answer_mass:g} wanted: no general "
        "reward model, fine-tune it first"
    )


def drawn(done: float) -> UInt8[np.ndarray, "128 128 3"]:
    """A grey table, a blue frame on the right, and a red block that is `done`, in [0, 1], of the way into it."""
    image = np.full((PAIR_SIZE, PAIR_SIZE, 3), 150, np.uint8)
    image[44:84, 80:120], image[50:78, 86:114] = (30, 60, 220), (150, 150, 150)
    left = round(8 + done * 80)
    image[52:76, left : left + 24] = (220, 30, 30)
    return image


def _numbers(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("its header is cut off")
            header = json.loads(stream.read(length))
        return sum(int(np.prod(entry["shape"])) for name, entry in header.items() if name != "__metadata__")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: no safetensors file ({error}); download the model again") from error

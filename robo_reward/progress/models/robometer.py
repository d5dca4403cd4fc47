"""Robometer: heads on a vision-language model, read behind each picture (arXiv 2603.02115).

Contract (github.com/robometer/robometer and LeRobot's port of it): the question, then every picture with the token
`<|prog_token|>` behind it. There the last hidden state goes through two small networks: progress, a distribution over
evenly spaced bins in [0, 1] of which the mean counts, and success, the logit of a probability. A third head compares
whole trajectories and is for training only.

Ours: the value is the mean of progress and success. The folder is that of the original release: the backbone's
config.json, its weights beside those of the heads, tokenizer and processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.vlm_files import Vlm, check_context, find_vlm, load_vlm

PROMPT = (
    "The task for the robot is '{task}'. Given the trajectory video, predict the task progress at each frame, how far "
    "along the robot is towards completing the task, a float between 0 and 1, where 0 is the starting state and 1 is "
    "when the task is completed. If the robot is not performing the same task, predict 0 progress."
)
PROGRESS_TOKEN = "<|prog_token|>"
TOKENS = ("<|split_token|>", "<|reward_token|>", "<|pref_token|>", "<|sim_token|>", PROGRESS_TOKEN)
"""What the vocabulary was extended by, in this order."""


def text_of(vlm: Vlm, clip: Clip) -> str:
    """The question, in a turn that nobody answers."""
    shown = [part for _ in clip.frames for part in ({"type": "image"}, {"type": "text", "text": PROGRESS_TOKEN})]
    content = [{"type": "text", "text": PROMPT.replace("{task}", clip.instruction)}, *shown]
    return str(
        vlm.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=False, add_vision_id=True
        )
    )


def head(hidden: int, outputs: int) -> nn.Sequential:
    """As the release names its layers: 0 and 4 are linear, 1 normalises."""
    half = hidden // 2
    return nn.Sequential(
        nn.Linear(hidden, half), nn.LayerNorm(half), nn.GELU(), nn.Identity(), nn.Linear(half, outputs)
    )


def load_heads(folder: Path, hidden: int) -> dict[str, nn.Sequential]:
    """Progress and success from the weights of this folder. Raises ValueError where they are not among them."""
    from safetensors import SafetensorError, safe_open

    heads = {}
    for name in ("progress_head", "success_head"):
        state: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as weights:
                found = [key for key in weights.keys() if key.startswith(f"{name}.")]
                state |= {key.removeprefix(f"{name}."): weights.get_tensor(key).float() for key in found}
        try:
            heads[name] = head(hidden, len(state["4.bias"]))
            heads[name].load_state_dict(state)
        except (KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(
                f"{folder}: no {name} of Robometer among its weights ({reason}); give its folder"
            ) from None
    return heads


@torch.inference_mode()
def progress_and_success(vlm: Vlm, heads: dict[str, nn.Sequential], clip: Clip) -> tuple[float, float]:
    """What the heads say behind the clip's last picture, both in [0, 1]."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in clip.frames]
    inputs: Any = vlm.processor(text=[text_of(vlm, clip)], images=images, return_tensors="pt").to(vlm.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
    check_context(vlm, inputs["input_ids"].shape[1])
    token = vlm.processor.tokenizer.convert_tokens_to_ids(PROGRESS_TOKEN)
    at = (inputs["input_ids"][0] == token).nonzero()[-1]
    seen = vlm.model.model(**inputs, use_cache=False).last_hidden_state[0, at].float().cpu()
    bins = heads["progress_head"](seen)[0].double().softmax(-1)
    progress = bins @ torch.linspace(0, 1, len(bins), dtype=torch.float64)
    return float(progress), float(heads["success_head"](seen)[0, 0].sigmoid())


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `vlm_files.load_vlm`, and for a model without the heads."""
    folder = find_vlm(settings.source, settings.revision)
    vlm = load_vlm(settings.source, settings.revision, settings.device)
    tokenizer, rows = vlm.processor.tokenizer, vlm.model.get_input_embeddings().num_embeddings
    tokenizer.add_tokens([t for t in TOKENS if t not in tokenizer.get_vocab()], special_tokens=True)
    if len(tokenizer) > rows:
        raise ValueError(
            f"{folder}: a vocabulary of {rows} has no room for {PROGRESS_TOKEN}: these are no weights of Robometer"
        )
    heads = load_heads(folder, vlm.model.config.get_text_config().hidden_size)

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        return np.array([progress_and_success(vlm, heads, clip) for clip in clips]).reshape(-1, 2).mean(1)

    return score

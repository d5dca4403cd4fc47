"""A small vision-language model of the released architecture (Qwen2.5-VL), to be trained from scratch.

Released models know language; one of a few million parameters that sees one lab's pictures does not need to. So its
tokenizer makes one token of each sentence of the question that never changes, of each known instruction and of each of
the 201 answers, and a question that is 900 tokens long elsewhere is about 40 here. Words that it does not know fall
into bytes. Prompt, answers and files are those of any other model of `reward=grm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32

from robo_reward.data.torchvision_cure import cure
from robo_reward.progress.models.grm_prompt import ANSWERS, MAX_PIXELS, MIN_PIXELS, answer_text, prompt_texts
from robo_reward.progress.models.vlm_files import Vlm

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The released one, without its system turn and what belongs to videos."""


@dataclass(frozen=True)
class SmallSize:
    """Width and depth of both halves. 84 px frames are scaled to 112 px, the least that the contract allows."""

    hidden: int = 128
    layers: int = 3
    vision_hidden: int = 32
    vision_layers: int = 2
    patch: int = 14
    """[px], square: 8 x 8 patches of a picture of 112 px."""
    merge: int = 8
    """Patches a side that become one token of the language model: 8 x 8, so one token a picture of 112 px."""


def build_small_vlm(folder: Path, instructions: Sequence[str], size: SmallSize | None = None, seed: int = 0) -> Path:
    """Write a random model with tokenizer and processor into a folder; about 5 million parameters by default.

    instructions: those that are one token each. The same arguments write the same files.
    """
    cure()
    import torch
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    s = size or SmallSize()
    tokenizer = Qwen2Tokenizer(
        tokenizer_object=_bytes(), eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=cast(str, None),
    )  # fmt: skip
    tokenizer.add_tokens(_sentences(instructions))
    area = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    images = Qwen2VLImageProcessor(patch_size=s.patch, merge_size=s.merge, size=area)
    video = Qwen2VLVideoProcessor(patch_size=s.patch, merge_size=s.merge)
    processor = Qwen2_5_VLProcessor(images, tokenizer, video, chat_template=TEMPLATE)
    ids: dict[str, Any] = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{short}|>") for name, short in
           (("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
            ("vision_end", "vision_end"))}  # fmt: skip
    heads = s.hidden // 32
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": s.hidden, "intermediate_size": 3 * s.hidden,
        "num_hidden_layers": s.layers, "num_attention_heads": heads, "num_key_value_heads": heads,
        "max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5]},
    }  # fmt: skip
    vision = {
        "depth": s.vision_layers, "hidden_size": s.vision_hidden, "num_heads": s.vision_hidden // 32,
        "intermediate_size": 3 * s.vision_hidden, "out_hidden_size": s.hidden, "patch_size": s.patch,
        "spatial_merge_size": s.merge, "window_size": s.patch * s.merge,
        "fullatt_block_indexes": list(range(s.vision_layers)),
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        first = cast(int, tokenizer.convert_tokens_to_ids(answer_text(ANSWERS[0])))
        model.lm_head.weight[first : first + len(ANSWERS)] = torch.from_numpy(_waves(s.hidden))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def _waves(hidden: int) -> Float32[np.ndarray, "A hidden"]:
    """Rows of the output layer with which the answers begin: waves over the percentage, so that neighbours are alike
    and what is learned of one answer is learned of those around it."""
    phase = np.linspace(-1, 1, len(ANSWERS))[:, None] * np.linspace(0, 12 * np.pi, hidden // 2, endpoint=False)
    return (0.15 * np.concatenate([np.cos(phase), np.sin(phase)], axis=1)).astype(np.float32)


def standardise(vlm: Vlm, pictures: Mapping[str, Sequence[np.ndarray]], components: int = 64) -> None:
    """Let the layer that joins the vision tower to the language model begin with what varies in a camera's pictures.

    At random, pictures of a camera that does not move differ by a percent, and the first thousand steps go into finding
    that out. So the layer's units begin as random mixtures of the principal components within a camera, of unit
    variance, their mean over all pictures at 0. No label is looked at.

    Args:
        vlm: a model of `build_small_vlm`, changed in place.
        pictures: camera -> some of its pictures.
        components: how many count.
    """
    import torch
    from PIL import Image

    visual = vlm.model.model.visual
    first = visual.merger.mlp[0]
    seen: list[Any] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    within = []
    try:
        for some in pictures.values():
            inputs = vlm.processor.image_processor(images=[Image.fromarray(p) for p in some], return_tensors="pt")
            with torch.no_grad():
                visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"], return_dict=True)
            within.append(seen[-1] - seen[-1].mean(0))
    finally:
        handle.remove()
    varied, mean = torch.cat(within).double(), torch.cat(seen).double().mean(0)
    _, scale, direction = torch.linalg.svd(varied, full_matrices=False)
    count = min(components, int((scale > 1e-6 * scale[0]).sum()))
    whitened = direction[:count] / scale[:count, None] * len(varied) ** 0.5
    mixture = torch.randn(first.out_features, count, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    weight = mixture @ whitened / count**0.5
    with torch.no_grad():
        first.weight.copy_(weight)
        first.bias.copy_(-weight @ mean)


def _sentences(instructions: Sequence[str]) -> list[str]:
    """What becomes one token each: the question's fixed parts, the turns' heads, the instructions, the answers."""
    mark = "\x00"
    fixed = [piece for text in prompt_texts(mark) for piece in text.split(mark) if piece]
    # The template joins the last part of the question to nothing, and its turns to a line's end.
    turns = ["user\n" + fixed[0], "assistant\n", "\n"]
    return list(dict.fromkeys([*turns, *fixed, *sorted(instructions), *(answer_text(p) for p in ANSWERS)]))


def _bytes() -> Any:
    """A tokenizer that splits into bytes whatever is no added token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate([*alphabet, *SPECIAL])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer

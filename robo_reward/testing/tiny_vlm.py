"""Random vision-language models of the released architectures, built offline: for tests, and to train from scratch.

The tokenizer is trained on the question's own text, with the released one's splitting rule (digits stand alone), so
that questions and answers have about as many tokens as with the released one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from robo_reward.data.torchvision_cure import cure
from robo_reward.progress.models.grm_prompt import ANSWERS, MAX_PIXELS, MIN_PIXELS, answer_text, prompt_texts

ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl")
PATCH = {"qwen2_5_vl": 14, "qwen3_vl": 16}
"""Sides of a patch [pixels]."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {"qwen2_5_vl": SYSTEM + TURNS, "qwen3_vl": TURNS}
"""What the released templates write of a question: only the older one adds a system turn."""


@dataclass(frozen=True)
class VlmSize:
    """Width and depth of both halves."""

    hidden: int = 32
    layers: int = 2
    heads: int = 2
    vision_hidden: int = 32
    vision_layers: int = 2
    vocabulary: int = 700
    context: int = 4096
    spread: float = 0.02
    """Standard deviation of the random weights."""


TINY = VlmSize(spread=0.15)
"""About 0.1 M parameters, spread so that answers depend on pictures: for tests."""
SMALL = VlmSize(hidden=256, layers=6, heads=4, vision_hidden=192, vision_layers=4, vocabulary=900)
"""About 10 M parameters: for training from scratch, and for speed."""


def build_vlm(folder: str | Path, architecture: str = "qwen2_5_vl", size: VlmSize = TINY, seed: int = 0) -> Path:
    """Write a random model with tokenizer and processor into a folder, as the hub lays them out.

    Raises ValueError for an unknown architecture.
    """
    import torch

    processor = local_processor(architecture, size.vocabulary)
    width, last = size.hidden // size.heads, size.vision_layers - 1
    text: dict[str, Any] = {
        "vocab_size": len(processor.tokenizer), "hidden_size": size.hidden, "intermediate_size": 3 * size.hidden,
        "num_hidden_layers": size.layers, "num_attention_heads": size.heads, "num_key_value_heads": size.heads // 2,
        "max_position_embeddings": size.context, "initializer_range": size.spread,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6,
                            "mrope_section": [width // 2 - 2 * (width // 6), width // 6, width // 6]},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": size.vision_layers, "hidden_size": size.vision_hidden, "num_heads": size.vision_hidden // 16,
        "intermediate_size": 3 * size.vision_hidden, "out_hidden_size": size.hidden, "initializer_range": size.spread,
    }  # fmt: skip
    if architecture == "qwen2_5_vl":
        vision |= {"window_size": 112, "fullatt_block_indexes": [last]}
    else:
        text["head_dim"] = width
        vision |= {"deepstack_visual_indexes": list(range(last)), "num_position_embeddings": 256}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = random_model(architecture, processor, text, vision)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def local_processor(architecture: str, vocabulary: int) -> Any:
    """The architecture's processor around a tokenizer made here. Raises ValueError for an unknown architecture."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture={architecture!r}: expected one of {', '.join(ARCHITECTURES)}")
    cure()
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    older = architecture == "qwen2_5_vl"
    tokenizer = Qwen2Tokenizer(
        tokenizer_object=_tokenizer(vocabulary), eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token=cast(str, None),
        padding_side="left",
    )  # fmt: skip
    area = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    images = Qwen2VLImageProcessor(patch_size=PATCH[architecture], size=area)
    video = (Qwen2VLVideoProcessor if older else Qwen3VLVideoProcessor)(patch_size=PATCH[architecture])
    kind: Any = Qwen2_5_VLProcessor if older else Qwen3VLProcessor
    return kind(images, tokenizer, video, chat_template=TEMPLATES[architecture])


def random_model(architecture: str, processor: Any, text: dict[str, Any], vision: dict[str, Any]) -> Any:
    """A model of these shapes for this processor, from torch's own random numbers."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    older, tokenizer = architecture == "qwen2_5_vl", processor.tokenizer
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{word}|>") for name, word in
           {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start",
            "vision_end": "vision_end"}.items()}  # fmt: skip
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text, vision = {**text, **ends}, {**vision, "patch_size": PATCH[architecture]}
    if not older:
        text["rope_parameters"] = {**text["rope_parameters"], "mrope_interleaved": True}
    tied = text.pop("tie_word_embeddings", True)
    settings: Any = Qwen2_5_VLConfig if older else Qwen3VLConfig
    kind: Any = Qwen2_5_VLForConditionalGeneration if older else Qwen3VLForConditionalGeneration
    model = kind(settings(text_config=text, vision_config=vision, tie_word_embeddings=tied, **ids))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _tokenizer(vocabulary: int) -> Any:
    """Byte-level pairs, learned from the question and its answers; the same every time."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    texts = [*prompt_texts("insert the peg into the red socket"), *(answer_text(percent) for percent in ANSWERS)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer

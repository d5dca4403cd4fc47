"""One sampled text a question, as the released code decodes: the compatible alternative to the expectation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from robo_reward.progress.models.grm_prompt import (
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    messages,
    parse_answer,
    prompt_texts,
)
from robo_reward.progress.models.vlm_files import Vlm
from robo_reward.progress.models.vlm_questions import Question

ATTEMPTS = 2
"""An answer that does not parse is asked for once more."""


def sampled_hops(
    vlm: Vlm, questions: Sequence[Question], pixels: Mapping[bytes, np.ndarray], order: str, batch: int
) -> list[float | None]:
    """The hop that each answer's text says, in [-1, 1]; None where neither of two texts parses.

    The same questions in the same batches give the same texts.
    """
    found: list[float | None] = [None] * len(questions)
    for attempt in range(ATTEMPTS):
        open_ = [i for i, hop in enumerate(found) if hop is None]
        for begin in range(0, len(open_), batch):
            rows = open_[begin : begin + batch]
            texts = sampled_texts(vlm, [questions[i] for i in rows], pixels, order, seed=attempt)
            for i, text in zip(rows, texts, strict=True):
                found[i] = parse_answer(text)
    return found


@torch.inference_mode()
def sampled_texts(
    vlm: Vlm, questions: Sequence[Question], pixels: Mapping[bytes, np.ndarray], order: str, seed: int
) -> list[str]:
    """One text for each question, in one call."""
    inputs = processor_inputs(vlm, questions, pixels, order)
    length = inputs["input_ids"].shape[1]
    devices = [vlm.device] if vlm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            out = vlm.model.generate(
                **inputs, do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=TOP_K,
                max_new_tokens=MAX_NEW_TOKENS,
            )  # fmt: skip
        except RuntimeError as error:
            if "probability" not in str(error):
                raise
            return [""] * len(questions)  # logits that are not numbers: nothing was said
    return list(vlm.processor.batch_decode(out[:, length:], skip_special_tokens=True))


def processor_inputs(
    vlm: Vlm, questions: Sequence[Question], pixels: Mapping[bytes, np.ndarray], order: str
) -> dict[str, Any]:
    """What the model's own processor makes of questions, in one call; shorter ones are padded on the left."""
    from PIL import Image

    texts = [
        vlm.processor.apply_chat_template(
            messages(prompt_texts(q.instruction, order)), tokenize=False, add_generation_prompt=True
        )
        for q in questions
    ]
    images = [Image.fromarray(pixels[digest]) for q in questions for digest in q.images]
    inputs = vlm.processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    return dict(inputs.to(vlm.device))

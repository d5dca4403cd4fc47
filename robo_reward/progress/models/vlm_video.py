"""How probable continuations of a text about a video are to a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from robo_reward.progress.models.vlm_files import Vlm, check_context


def video_turn(vlm: Vlm, text: str, answering: bool = True) -> str:
    """A user's turn of a video and a text behind it, as the model's own template writes it.

    answering: whether the assistant's turn is begun.
    """
    content = [{"type": "video"}, {"type": "text", "text": text}]
    return str(
        vlm.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=answering
        )
    )


@torch.inference_mode()
def continuation_log_p(
    vlm: Vlm, frames: np.ndarray, text: str, continuations: Sequence[Sequence[int]], fps: float
) -> Float64[np.ndarray, "A"]:
    """Log-probability of each continuation's last token, given the video, the text and the tokens before it.

    Args:
        frames: (T, H, W, 3) uint8.
        text: as of `video_turn`.
        continuations: token ids; they differ in the last one only.
        fps: of the frames, which tells the model how much time lies between them.
    """
    inputs: dict[str, Any] = dict(
        vlm.processor(
            text=[text], videos=[torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)],
            video_metadata=[{"fps": fps, "frames_indices": list(range(len(frames))), "total_num_frames": len(frames)}],
            do_sample_frames=False, return_tensors="pt",
        ).to(vlm.device)
    )  # fmt: skip
    check_context(vlm, inputs["input_ids"].shape[1] + len(continuations[0]))
    said = torch.tensor([list(continuations[0][:-1])], dtype=torch.long, device=vlm.device)
    for name, fill in (("input_ids", said), ("attention_mask", torch.ones_like(said)),
                       ("mm_token_type_ids", torch.zeros_like(said))):  # fmt: skip
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], fill], dim=1)
    logits = vlm.model(**inputs, logits_to_keep=1).logits[0, -1].double()
    found: np.ndarray = logits.log_softmax(-1)[[ids[-1] for ids in continuations]].cpu().numpy()
    return found

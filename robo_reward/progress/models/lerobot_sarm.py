"""SARM as LeRobot trains and saves it: progress by stage (arXiv 2509.25358).

Its own class computes the progress, from CLIP's embeddings of pictures and instruction. LeRobot fetches that CLIP by
name; here it is the subfolder `clip` of the model's folder (openai/clip-vit-base-patch32 for released ones).

Ours: LeRobot shows as many later frames as earlier ones and reads the one in the middle. Here the earlier ones are the
reference start and the later ones the moment itself, as at an episode's end, so that nothing is read ahead. The joints'
state is left at its mean, because questions have pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.progress.models.clip_embedding import load_clip
from robo_reward.progress.models.lerobot_classifier import loading, read_config
from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.vlm_files import find_vlm

CLIP = "clip"
BESIDE = (CLIP,)


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises ValueError for another model, or without its CLIP."""
    import torch

    folder = find_vlm(settings.source, settings.revision)
    found = read_config(folder, "sarm")
    if not (folder / CLIP).is_dir():
        raise ValueError(
            f"{folder / CLIP}: no such folder; SARM looks through CLIP, put its files there (LeRobot takes "
            "openai/clip-vit-base-patch32)"
        )
    clip = load_clip(str(folder / CLIP), None, "cpu")
    width = clip.model.config.projection_dim
    if (found["image_dim"], found["text_dim"]) != (width, width):
        raise ValueError(
            f"{folder / CLIP}: embeddings of {width} numbers, and SARM takes {found['image_dim']}: it is another CLIP"
        )
    import_lerobot()
    with loading(folder):
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.sarm.modeling_sarm import SARMRewardModel

        config: Any = PreTrainedConfig.from_pretrained(str(folder))
        config.device = "cpu"
        model: Any = SARMRewardModel.from_pretrained(str(folder), config=config, strict=True).eval()
    half = config.n_obs_steps // 2

    @torch.inference_mode()
    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        seen = torch.from_numpy(clip.pictures([frame for c in clips for frame in c.frames], unit=False)).float()
        start, moment = seen.reshape(len(clips), 2, -1)[:, :, None].unbind(1)
        video = torch.cat([start.expand(-1, half, -1), moment.expand(-1, half + 1, -1)], dim=1)
        text = torch.from_numpy(clip.texts([c.instruction for c in clips], unit=False)).float()
        said: np.ndarray = model.calculate_rewards(text, video, frame_index=half)
        return said.astype(np.float64)

    return score

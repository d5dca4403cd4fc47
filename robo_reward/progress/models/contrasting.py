"""VLM-RL's contrasting goals: CLIP's similarity to what should be, minus that to what should not (arXiv 2412.15544).

The published code takes cos(s, positive) - cos(s, negative); ours brings it from [-1, 1] to [0, 1], and cuts what lies
beyond. The positive goal is the instruction, the negative one `reward.baseline`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.clip_embedding import load_clip
from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings


def contrast(
    state_Bd: Float64[np.ndarray, "B d"], positive_d: Float64[np.ndarray, "d"], negative_d: Float64[np.ndarray, "d"]
) -> Float64[np.ndarray, "B"]:
    """The published reward of unit vectors, in [-2, 2]."""
    difference: np.ndarray = state_Bd @ positive_d - state_Bd @ negative_d
    return difference


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `clip_embedding.load_clip`."""
    clip = load_clip(settings.source, settings.revision, settings.device)

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        states = clip.pictures([c.frames[-1] for c in clips])
        negative = clip.text(settings.baseline)
        return np.array([
            0.5 + contrast(state[None], clip.text(c.instruction), negative)[0] / 2
            for state, c in zip(states, clips, strict=True)
        ])  # fmt: skip

    return score

"""VLM-RM: CLIP's distance to the goal in words, partly on the line from a baseline to it (arXiv 2310.12921).

With the unit vectors s of the picture, g of the goal and b of the baseline, and P the projection onto the line through
g and b: 1 - |(alpha P + (1 - alpha) I)(s - g)|^2 / 2. The goal is the instruction, the baseline `reward.baseline`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.clip_embedding import load_clip
from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings

ALPHA = 0.5
"""How much of what does not lie on that line is left out: 0 is CLIP's own similarity, 1 leaves the line alone."""


def projected_reward(
    state_Bd: Float64[np.ndarray, "B d"], goal_d: Float64[np.ndarray, "d"], baseline_d: Float64[np.ndarray, "d"],
    alpha: float = ALPHA,
) -> Float64[np.ndarray, "B"]:  # fmt: skip
    """The published reward of unit vectors, 1 at the goal."""
    along = goal_d - baseline_d
    away = state_Bd - goal_d
    on_line = np.outer(away @ along / max(along @ along, 1e-12), along)
    left: np.ndarray = alpha * on_line + (1 - alpha) * away
    return 1 - (left**2).sum(1) / 2


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `clip_embedding.load_clip`."""
    clip = load_clip(settings.source, settings.revision, settings.device)

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        states = clip.pictures([c.frames[-1] for c in clips])
        baseline = clip.text(settings.baseline)
        return np.array([
            projected_reward(state[None], clip.text(c.instruction), baseline)[0]
            for state, c in zip(states, clips, strict=True)
        ])  # fmt: skip

    return score

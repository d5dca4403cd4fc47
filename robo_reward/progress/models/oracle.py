"""The simulator's own progress as a potential: an upper bound, privileged, never the default."""

from __future__ import annotations

import numpy as np

from robo_reward.types import Episode, PhiTrack

MODEL_ID = "oracle"


def oracle_track(episode: Episode) -> PhiTrack:
    """Phi of the T+1 observations = the environment's oracle progress, in [0, 1]."""
    phi = np.clip(episode.oracle, 0.0, 1.0).astype(np.float32)
    return PhiTrack(MODEL_ID, phi, np.ones_like(phi))

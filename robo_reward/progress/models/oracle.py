"""The simulator's own progress as a potential: an upper bound, privileged, never the default."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from robo_reward.types import Episode, PhiTrack

MODEL_ID = "oracle"


def oracle_of(episode: Episode) -> Float32[np.ndarray, "T+1"]:
    """The episode's oracle progress; ValueError where no simulator recorded one."""
    if episode.oracle is None:
        raise ValueError(
            f"episode {episode.episode_id} has no oracle progress, which only a simulator knows: use reward=compact, "
            "or episodes collected in simulation"
        )
    return episode.oracle


def oracle_track(episode: Episode) -> PhiTrack:
    """Phi of the T+1 observations = the environment's oracle progress, in [0, 1]. Raises as `oracle_of`."""
    phi = np.clip(oracle_of(episode), 0.0, 1.0).astype(np.float32)
    return PhiTrack(MODEL_ID, phi, np.ones_like(phi))

"""What some schemes need of whole episodes, before windows are cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robo_reward.progress.reward_aligned import reward_aligned_weights
from robo_reward.types import Episode, PhiTrack


def gated(episode: Episode, track: PhiTrack) -> PhiTrack:
    """The track where the episode's task reward came, else a potential of 0 throughout.

    Gated accumulation (arXiv 2508.10548): lower rewards are counted only once the higher-level one has passed its
    threshold; here progress, and the task itself.
    """
    earned = float(episode.reward.sum()) > 0
    return replace(track, model_id=f"{track.model_id}-gated", phi=track.phi * np.float32(earned))


def contrasted(own: PhiTrack, others: Sequence[PhiTrack]) -> PhiTrack:
    """How much nearer the own goal is than the nearest other one, (1 + Phi - max Phi_other) / 2, in [0, 1].

    own, others: tracks of one episode under its instruction, and under every other that the reward model knows.
    """
    rival = np.max([track.phi for track in others], axis=0)
    phi = ((1 + own.phi - rival) / 2).astype(np.float32)
    return replace(own, model_id=f"{own.model_id}-contrast", phi=phi)


def imitation_weights(phi_BW: np.ndarray, length_B: np.ndarray, shown_B: np.ndarray) -> np.ndarray:
    """RA-BC: the weight of imitating each window's first step, by the progress over the window, in [0, 1] (B,).

    Args:
        phi_BW: potentials of the windows' observations, the last one at `length_B`.
        length_B: steps of each window.
        shown_B: 1 where the first step was demonstrated; the others weigh nothing.
    """
    gain_B = phi_BW[np.arange(len(phi_BW)), length_B] - phi_BW[:, 0]
    weight_B, shown = np.zeros(len(phi_BW), np.float32), shown_B > 0
    if shown.any():
        [weight_B[shown]] = reward_aligned_weights([gain_B[shown]])
    return weight_B

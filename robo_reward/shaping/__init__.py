"""Reward shaping at sampling time: the potential-based scheme and what it is compared with."""

from robo_reward.shaping.schemes import SCHEMES, Shaping, naive, none, potential, ra_bc
from robo_reward.shaping.tracks import contrasted, gated, imitation_weights

__all__ = ["SCHEMES", "Shaping", "contrasted", "gated", "imitation_weights", "naive", "none", "potential", "ra_bc"]

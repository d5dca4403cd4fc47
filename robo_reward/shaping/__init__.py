"""Reward shaping at sampling time: the potential-based scheme and what it is compared with."""

from robo_reward.shaping.schemes import SCHEMES, Shaping, naive, none, potential

__all__ = ["SCHEMES", "Shaping", "naive", "none", "potential"]

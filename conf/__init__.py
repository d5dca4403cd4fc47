"""Hydra's files. Keys and defaults live in `robo_reward/config/`; a yaml here names what departs from them."""

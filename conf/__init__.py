"""Hydra's files. Keys and defaults live in `robo_reward/config.py`; a yaml here names what departs from them."""

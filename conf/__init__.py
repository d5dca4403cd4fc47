"""Hydra's configuration files. Keys and defaults live in `robo_reward/config.py`; a yaml names what departs from them."""

"""Robots and their transports: no torch, no transformers, no Hydra in this room."""

"""Backends of the process reward model, one file each."""

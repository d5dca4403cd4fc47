"""Runs, stages and the loops that drive them."""

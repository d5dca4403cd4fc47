"""Judging reward models: metrics and the one table."""

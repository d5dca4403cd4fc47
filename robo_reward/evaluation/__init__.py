"""Evaluation: success protocol, statistics, episode videos, report."""

"""The residual off-policy learner (needs the `learn` extra)."""

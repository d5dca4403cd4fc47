"""Base policies: scripted experts and behaviour cloning."""

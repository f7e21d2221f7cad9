"""Defaults of an audit, for a help text that imports nothing slow."""

STEPS = 200
"""Of training, for each task and control."""

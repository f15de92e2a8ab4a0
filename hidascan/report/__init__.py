"""Findings made readable. Nothing in here imports the model."""

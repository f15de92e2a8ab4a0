"""Figures: how well a scanner does, and how fast."""

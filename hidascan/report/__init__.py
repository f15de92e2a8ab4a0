"""Findings made readable. Nothing in here sees a network."""

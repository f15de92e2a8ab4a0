"""Pixels and bytes. Nothing in here imports torch."""

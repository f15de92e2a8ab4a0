"""Autoencoders that reconstruct photos."""

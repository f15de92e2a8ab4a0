"""Autoencoders, for reconstructions of photos."""

"""Tensors: the network and its checkpoint. Nothing in here opens an image."""

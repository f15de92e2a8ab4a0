"""Recognise pictures without enough content to classify: blank or tiny ones."""

from __future__ import annotations

import numpy as np

from hidascan.image.views import MIN_SIDE

_STEP = 3  # minimum difference of neighbours that counts as structure; JPEG changes flat colours by 1 or 2
_MIN_STRUCTURE = 0.001  # share of neighbours with structure; 4 of 900 windows of train.tsv have less: skies, drawings
_LINES = 64  # minimum number of rows and columns compared; at most about twice as many


def content_problem(pixels: np.ndarray) -> str:
    """Return the reason why a picture (H, W, 3) uint8 cannot be classified; "" if it can."""
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"nothing to judge: {width}x{height} pixels are too few (at least {MIN_SIDE} per side needed)"
    if _structure(pixels) < _MIN_STRUCTURE:
        return "nothing to judge: the picture is blank"
    return ""


def _structure(pixels: np.ndarray) -> float:
    """Return the share, 0..1, of neighbouring pixels that differ in some channel, along rows or columns.

    Of both, it is the smaller one: a picture that changes in one direction only, such as a line on black, shows nothing.
    """
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // _LINES)].astype(np.int16)
    cols = pixels[:, :: max(1, width // _LINES)].astype(np.int16)
    steps = (np.diff(rows, axis=1), np.diff(cols, axis=0))
    return min(float((np.abs(step) >= _STEP).any(axis=2).mean()) for step in steps)

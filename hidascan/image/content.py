"""Recognise pictures that cannot be judged (blank or tiny), and those without fine detail (enlarged or out of focus)."""

from __future__ import annotations

import numpy as np

from hidascan.image.views import MIN_SIDE
from hidascan.notes import NO_CONTENT, NO_DETAIL

_STEP = 3  # minimum difference of neighbours that counts as structure; JPEG changes flat colours by 1 or 2
_MIN_STRUCTURE = 0.001  # share of neighbours with structure; 4 of 900 windows of train.tsv have less: skies, drawings
_LINES = 64  # minimum number of rows and columns compared; at most about twice as many
_LENGTH = 4096  # pixels of each in which fine detail is sought
_FINE, _COARSE = (0.3, 0.5), (0.05, 0.15)  # bands of frequency, cycles per pixel
# Power of the fine band over that of the coarse one. Nine examples: 0.028 or more unchanged and after JPEG of
# quality 60, at most 0.0044 enlarged twice (bicubic, Lanczos). Of 150 real images of train.tsv, 5 are below: faces
# that were enlarged, a blurred scan, a game.
_LEAST = 0.0045


def detail_problem(pixels: np.ndarray) -> str:
    """Return a note if fine detail is missing along rows and columns, as after enlarging to twice the size; else "".

    Pixels are (H, W, 3) uint8 RGB, with at least 64 a side.
    """
    green = pixels[..., 1]
    rows = green[:: max(1, green.shape[0] // _LINES), :_LENGTH]
    columns = green[:_LENGTH, :: max(1, green.shape[1] // _LINES)].T
    missing = all(_fine_share(lines) < _LEAST for lines in (rows, columns))
    return f"{NO_DETAIL}: fine detail is missing" if missing else ""


def _fine_share(lines: np.ndarray) -> float:
    """Return the mean power of the fine band over that of the coarse one; lines are (N, pixels)."""
    length = lines.shape[1]
    centred = lines - lines.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(centred * np.hanning(length))) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(length)
    fine, coarse = (power[(low <= frequency) & (frequency < high)].mean() for low, high in (_FINE, _COARSE))
    return float(fine / max(coarse, 1e-9))


def content_problem(pixels: np.ndarray) -> str:
    """Return the reason why a picture (H, W, 3) uint8 cannot be classified; "" if it can."""
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"{NO_CONTENT}: {width}x{height} pixels are too few (at least {MIN_SIDE} per side needed)"
    if _structure(pixels) < _MIN_STRUCTURE:
        return f"{NO_CONTENT}: the picture is blank"
    return ""


def _structure(pixels: np.ndarray) -> float:
    """Return the share, 0..1, of neighbouring pixels that differ in some channel, along rows or columns.

    The smaller of the two: a picture that changes in one direction only, such as a line on black, shows nothing.
    """
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // _LINES)].astype(np.int16)
    cols = pixels[:, :: max(1, width // _LINES)].astype(np.int16)
    steps = (np.diff(rows, axis=1), np.diff(cols, axis=0))
    return min(float((np.abs(step) >= _STEP).any(axis=2).mean()) for step in steps)

"""Recognise pictures without fine detail: enlarged or out of focus."""

from __future__ import annotations

import numpy as np

_LINES, _LENGTH = 64, 4096  # rows and columns compared, and pixels of each
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
    return "looks enlarged or out of focus: fine detail is missing" if missing else ""


def _fine_share(lines: np.ndarray) -> float:
    """Return the mean power of the fine band over that of the coarse one; lines are (N, pixels)."""
    length = lines.shape[1]
    centred = lines - lines.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(centred * np.hanning(length))) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(length)
    fine, coarse = (power[(low <= frequency) & (frequency < high)].mean() for low, high in (_FINE, _COARSE))
    return float(fine / max(coarse, 1e-9))

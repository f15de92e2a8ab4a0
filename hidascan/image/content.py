"""Recognise pictures that cannot be judged (blank or tiny), and those without fine detail (enlarged or out of focus)."""

from __future__ import annotations

import math

import cv2
import numpy as np

from hidascan.image.views import MIN_SIDE
from hidascan.notes import NO_CONTENT, NO_DETAIL

_STEP = 3  # minimum difference of neighbours that counts as structure; JPEG changes flat colours by 1 or 2
_MIN_STRUCTURE = 0.001  # share of neighbours with structure; 4 of 900 windows of train.tsv have less: skies, drawings
_UNIFORM = 4  # maximum range of each channel of a blank picture
_GRID, _BLOCK = 256, 4  # maximum blocks along the longer side of a picture; minimum side of a block, pixels
_GROUP = 4  # blocks along a side of a group
_BLOCK_STEP = 6  # minimum difference of neighbouring blocks that counts as content; grain on a blank scan averages out
# Groups with content; of a small picture, half of all groups are enough. Of 1,500 pictures of the training tables and dev,
# 3 have fewer than 16, all of them blank at first sight, and none from 16 to 30.
_MIN_GROUPS = 16
_MIN_CONTRAST = 64  # contrast of dark and bright blocks; the three have 0 to 10, a sunset without detail has more
_LINES = 64  # minimum number of rows and columns compared; at most about twice as many
_LENGTH = 4096  # pixels of each in which fine detail is sought
_FINE, _COARSE = (0.3, 0.5), (0.05, 0.15)  # bands of frequency, cycles per pixel
# Power of the fine band over that of the coarse one. Nine examples: 0.028 or more unchanged and after JPEG of
# quality 60, at most 0.0044 enlarged twice (bicubic, Lanczos). Of 150 real images of train.tsv, 5 are below: faces
# that were enlarged, a blurred scan, a game.
_MIN_FINE_SHARE = 0.0045


def detail_problem(pixels: np.ndarray) -> str:
    """Return a note if fine detail is missing along rows and columns, as after enlarging to twice the size; else "".

    Pixels are (H, W, 3) uint8 RGB, with at least 64 a side.
    """
    green = pixels[..., 1]
    rows = green[:: max(1, green.shape[0] // _LINES), :_LENGTH]
    columns = green[:_LENGTH, :: max(1, green.shape[1] // _LINES)].T
    missing = all(_fine_share(lines) < _MIN_FINE_SHARE for lines in (rows, columns))
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
    if _structure(pixels) >= _MIN_STRUCTURE and not _is_almost_blank(pixels):
        return ""
    is_uniform = (np.ptp(pixels, axis=(0, 1)) <= _UNIFORM).all()
    return (
        f"{NO_CONTENT}: the scanned picture is blank"
        if is_uniform
        else f"{NO_CONTENT}: the scanned picture has too little content"
    )


def _structure(pixels: np.ndarray) -> float:
    """Return the share, 0..1, of neighbouring pixels that differ in some channel, along rows or columns.

    The smaller share counts: a picture that varies in one direction only, such as stripes, has no content.
    """
    height, width = pixels.shape[:2]
    rows = pixels[:: max(1, height // _LINES)].astype(np.int16)
    cols = pixels[:, :: max(1, width // _LINES)].astype(np.int16)
    steps = (np.diff(rows, axis=1), np.diff(cols, axis=0))
    return min(float((np.abs(step) >= _STEP).any(axis=2).mean()) for step in steps)


def _is_almost_blank(pixels: np.ndarray) -> bool:
    """Return whether the mean colours of blocks hardly differ, and those of neighbours only in a few places."""
    height, width = pixels.shape[:2]
    side = max(_BLOCK, math.ceil(max(height, width) / _GRID))
    size = max(1, width // side), max(1, height // side)
    blocks = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    differs = np.zeros([math.ceil(count / _GROUP) * _GROUP for count in blocks.shape[:2]], bool)
    inner = differs[: size[1], : size[0]]
    inner[:, 1:] |= (np.abs(np.diff(blocks, axis=1)) >= _BLOCK_STEP).any(axis=2)
    inner[1:] |= (np.abs(np.diff(blocks, axis=0)) >= _BLOCK_STEP).any(axis=2)
    rows, columns = (count // _GROUP for count in differs.shape)
    groups = differs.reshape(rows, _GROUP, columns, _GROUP).any(axis=(1, 3))
    low, high = np.percentile(blocks, [2, 98], axis=(0, 1))
    return bool(groups.sum() < min(_MIN_GROUPS, groups.size / 2) and (high - low).max() < _MIN_CONTRAST)

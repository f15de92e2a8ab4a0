"""The edge-aligned patch grid of HiDA-Net, the thumbnail, and the way from tokens back to pixels.

Along a side of length L >= P there are N = ceil(L / P) patches of side P; patch i < N - 1 starts at i * P and the
last one at L - P, so that together they cover every pixel without padding or resizing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

PATCH = 224
CELL = 16  # side of a cell of the token map, pixels


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of an image lie: top edges of the patch rows, left edges of the patch columns, in pixels."""

    height: int
    width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def corners(self) -> list[tuple[int, int]]:
        """(top, left) of every patch, row by row."""
        return [(top, left) for top in self.tops for left in self.lefts]


def starts(length: int, patch: int = PATCH) -> tuple[int, ...]:
    """First pixel of each patch along one side of `length` >= `patch` pixels.

    Raises ValueError for a side shorter than a patch: mirror the image first (`mirror_to_patch`).
    """
    if length < patch:
        raise ValueError(f"a side of {length} px is shorter than a patch of {patch} px")
    count = math.ceil(length / patch)
    return (*range(0, (count - 1) * patch, patch), length - patch)


def patch_grid(height: int, width: int, patch: int = PATCH) -> PatchGrid:
    """Grid over an image of (height, width) pixels, both >= `patch`."""
    return PatchGrid(height, width, starts(height, patch), starts(width, patch))


def mirror_to_patch(pixels: np.ndarray, patch: int = PATCH) -> np.ndarray:
    """Extend sides under `patch` px by mirroring, at the bottom and right; larger sides stay as they are.

    This is the one case that the grid cannot cover as it is. Mirroring keeps the pixels (and their high
    frequencies) as they are, which enlarging would not. (H, W, 3) uint8 in and out.
    """
    height, width = pixels.shape[:2]
    below, right = max(0, patch - height), max(0, patch - width)
    if not (below or right):
        return pixels
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")


def patches(pixels: np.ndarray, grid: PatchGrid, patch: int = PATCH) -> list[np.ndarray]:
    """Views (no copies) of (patch, patch, 3) into `pixels` (H, W, 3), in the order of `grid.corners()`."""
    return [pixels[top : top + patch, left : left + patch] for top, left in grid.corners()]


def spread(grid: PatchGrid, most: int, seed: int = 0) -> list[int]:
    """Numbers of at most `most` >= 1 patches, in order, spread over the image: its rows and columns are parted into
    rectangles of about equal sides, and of each one patch is drawn, always the same for a seed."""
    rows, cols = len(grid.tops), len(grid.lefts)
    down = min(rows, max(1, round(math.sqrt(most * rows / cols))), most)
    across = min(cols, most // down)
    rng = np.random.default_rng(seed)
    drawn = []
    for top in range(down):
        for left in range(across):
            row = rng.integers(top * rows // down, (top + 1) * rows // down)
            col = rng.integers(left * cols // across, (left + 1) * cols // across)
            drawn.append(int(row * cols + col))
    return sorted(drawn)


def thumbnail(pixels: np.ndarray, side: int = PATCH) -> np.ndarray:
    """The whole image as (side, side, 3) uint8: area-averaged where it shrinks, bicubic where it grows."""
    height, width = pixels.shape[:2]
    narrowed = _resize(pixels, height, side, grows=width < side)
    return _resize(narrowed, side, side, grows=height < side)


def _resize(pixels: np.ndarray, height: int, width: int, grows: bool) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    kernel = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def cell_map(values: np.ndarray, grid: PatchGrid, cell: int = CELL, patch: int = PATCH) -> np.ndarray:
    """Fuse what overlapping patches say of their parts into one map of `cell` x `cell` pixel cells.

    values: (K, h, w, E) float, E numbers for each of the h x w parts of a patch, patches in the order of
    `grid.corners()`. Returns (ceil(height / cell), ceil(width / cell), E) float32: each cell is the mean of the parts
    over it, weighted by the area they share. The weights are separable: M = R V C^t.
    """
    count, rows, cols, numbers = values.shape
    if count != len(grid):
        raise ValueError(f"{count} patches of values for a grid of {len(grid)}")
    mosaic = values.reshape(len(grid.tops), len(grid.lefts), rows, cols, numbers).transpose(0, 2, 1, 3, 4)
    mosaic = mosaic.reshape(len(grid.tops) * rows, len(grid.lefts) * cols, numbers)
    down = _overlap(grid.tops, rows, grid.height, cell, patch)
    across = _overlap(grid.lefts, cols, grid.width, cell, patch)
    mosaic = np.tensordot(down, mosaic.astype(np.float32, copy=False), 1)
    return np.tensordot(across, mosaic, (1, 1)).transpose(1, 0, 2)


def _overlap(first: tuple[int, ...], tokens: int, length: int, cell: int, patch: int) -> np.ndarray:
    """(cells, patches * tokens) weights: the share of each token in each cell along one side; rows sum to 1."""
    side = patch / tokens
    token_start = (np.asarray(first)[:, None] + np.arange(tokens)[None] * side).reshape(1, -1)
    cell_start = (np.arange(math.ceil(length / cell)) * cell)[:, None]
    cell_end = np.minimum(cell_start + cell, length)
    shared = np.minimum(cell_end, token_start + side) - np.maximum(cell_start, token_start)
    shared = np.clip(shared, 0, None).astype(np.float32)
    return shared / shared.sum(axis=1, keepdims=True)

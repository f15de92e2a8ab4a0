"""The token map in words: boxes of what lies over the localisation threshold, in pixels of the image as stored."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_MOST = 100  # regions told, largest first


@dataclass(frozen=True)
class Region:
    """A connected region of cells. left, top, right, bottom: its box, pixels, the latter two exclusive. area: share of
    the image's cells, 0..1. score: mean p(AI) of its cells, 0..1."""

    left: int
    top: int
    right: int
    bottom: int
    area: float
    score: float


def find_regions(cells: np.ndarray, threshold: float, width: int, height: int, cell: int) -> tuple[Region, ...]:
    """cells (ceil(height / cell), ceil(width / cell)) float32 in 0..1 -> regions of cells >= threshold that touch at
    a side or a corner, largest first, at most 100."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((cells >= threshold).astype(np.uint8), connectivity=8)
    largest = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:_MOST] if count > 1 else []
    regions = []
    for number in largest:
        left, top, across, down, size = (int(value) for value in stats[number])
        box = (left * cell, top * cell, min(width, (left + across) * cell), min(height, (top + down) * cell))
        regions.append(Region(*box, size / cells.size, float(cells[labels == number].mean())))
    return tuple(regions)

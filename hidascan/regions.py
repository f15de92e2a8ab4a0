"""Find regions of a heatmap over the localisation threshold, as boxes in pixels of the stored image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

_MAX = 100  # regions reported


@dataclass(frozen=True)
class Region:
    """A connected region of cells.

    Attributes:
        left: Left edge of the box, pixels.
        top: Top edge of the box, pixels.
        right: Right edge of the box, exclusive, pixels.
        bottom: Bottom edge of the box, exclusive, pixels.
        area: Share of the image's cells, 0..1.
        score: Mean p(AI) of its cells, 0..1.
    """

    left: int
    top: int
    right: int
    bottom: int
    area: float
    score: float


def find_regions(cells: np.ndarray, threshold: float, width: int, height: int, cell: int) -> tuple[Region, ...]:
    """Find 8-connected regions of cells over a threshold.

    Args:
        cells: (ceil(height / cell), ceil(width / cell)) float32 in 0..1.
        threshold: Minimum p(AI) of a cell.
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        cell: Side of a cell, pixels.

    Returns:
        At most 100 regions, the largest first.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((cells >= threshold).astype(np.uint8), connectivity=8)
    largest: Iterable[int] = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:_MAX] if count > 1 else []
    regions = []
    for number in largest:
        left, top, across, down, size = (int(value) for value in stats[number])
        right, bottom = min(width, (left + across) * cell), min(height, (top + down) * cell)
        score = float(cells[labels == number].mean())
        regions.append(Region(left * cell, top * cell, right, bottom, size / cells.size, score))
    return tuple(regions)

"""Find regions of a heatmap over the localisation threshold, and state how much of an image looks AI-made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np

from hidascan.geometry import Box

MAX_REGIONS = 100  # reported
_FINE = 4  # times that cells are enlarged to trace outlines along their edges
_SPANS = 0.7  # share of a side from which a box spans it
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
_PLACES = {"middle centre": "centre", "upper centre": "top", "lower centre": "bottom"}
SCOPES = ("whole", "part", "none")
WHOLE = 0.6  # share of the cells over the threshold from which a heatmap marks the whole image


@dataclass(frozen=True)
class Region:
    """A connected region of cells."""

    left: int  # left edge of the box, pixels
    top: int  # top edge of the box, pixels
    right: int  # right edge of the box, exclusive, pixels
    bottom: int  # bottom edge of the box, exclusive, pixels
    area: float  # share of the image's cells, 0..1
    score: float  # mean heatmap value of its cells, 0..1; not a calibrated probability

    @property
    def box(self) -> Box:
        """Rectangle around the region."""
        return Box(self.left, self.top, self.right - self.left, self.bottom - self.top)


def find_regions(cells: np.ndarray, threshold: float, width: int, height: int, cell: int) -> tuple[Region, ...]:
    """Find 8-connected regions of cells over a threshold: at most 100, the largest first.

    `cells` are heatmap values, (ceil(height / cell), ceil(width / cell)) float32 in 0..1; width, height and cell are in pixels.
    """
    labels, stats, largest = _labelled(cells >= threshold)
    regions = []
    for number in largest:
        left, top, across, down, size = (int(value) for value in stats[number])
        right, bottom = min(width, (left + across) * cell), min(height, (top + down) * cell)
        score = float(cells[labels == number].mean())
        regions.append(Region(left * cell, top * cell, right, bottom, size / cells.size, score))
    return tuple(regions)


def outlines(marked: np.ndarray) -> list[list[np.ndarray]]:
    """Trace the outlines of the regions of a mask along the edges of its cells.

    Args:
        marked: (h, w) bool mask of the cells above the threshold.

    Returns:
        For each region, in the order of `find_regions`: its closed polygons, holes among them, each (N, 2) int as
        (x, y) in cells.
    """
    labels, stats, largest = _labelled(marked)
    traced = []
    for number in largest:
        left, top, across, down, _ = (int(value) for value in stats[number])
        own = labels[top : top + down, left : left + across] == number
        fine = np.kron(own, np.ones((_FINE, _FINE))).astype(np.uint8)
        polygons, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        traced.append([np.rint(polygon[:, 0] / _FINE).astype(int) + np.array([left, top]) for polygon in polygons])
    return traced


def turned(points: np.ndarray, orientation: int) -> np.ndarray:
    """Turn points (N, 2), shares (x, y) of the sides of the stored image, upright by the EXIF orientation 1..8."""
    x, y = (points[:, 1], points[:, 0]) if orientation in (5, 6, 7, 8) else (points[:, 0], points[:, 1])
    x = 1 - x if orientation in (2, 3, 6, 7) else x
    y = 1 - y if orientation in (3, 4, 7, 8) else y
    return np.stack([x, y], axis=1)


def place_of(box: Box, width: int, height: int, orientation: int) -> str:
    """Name the place of a box in the upright picture: `upper left`, `top`, `centre`, or the sides that it spans.

    Box, width and height are in pixels of the stored image; `orientation` is that of EXIF, 1..8.
    """
    corners = np.array([[box.left, box.top], [box.left + box.width, box.top + box.height]]) / (width, height)
    (left, top), (right, bottom) = np.sort(turned(corners, orientation), axis=0)
    row, column = _third(_ROWS, top, bottom), _third(_COLUMNS, left, right)
    if right - left >= _SPANS and bottom - top >= _SPANS:
        return "from edge to edge"
    if right - left >= _SPANS:
        return f"across the {_PLACES[f'{row} centre']}"
    if bottom - top >= _SPANS:
        return f"down the {column}"
    return _PLACES.get(f"{row} {column}", f"{row} {column}".removeprefix("middle "))


def _third(names: tuple[str, ...], low: float, high: float) -> str:
    return names[min(2, int((low + high) / 2 * 3))]


def _labelled(marked: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Label 8-connected regions; return labels, OpenCV's statistics, and the numbers of the largest regions."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8), connectivity=8)
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_REGIONS] if count > 1 else ()
    return labels, stats, [1 + int(number) for number in largest]


def scope_of(verdict: str, ai_area: float | None, regions: Collection[Region]) -> str | None:
    """Return how much of an image looks AI-made: "whole", "part" or "none".

    It is None if verdict and heatmap disagree, or without a heatmap. `ai_area` is the share of cells over the threshold,
    0..1.
    """
    if ai_area is None:
        return None
    if verdict == "real":
        return None if regions else "none"
    if not regions:
        return None
    return "whole" if ai_area >= WHOLE else "part"

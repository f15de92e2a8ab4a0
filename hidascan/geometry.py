"""Place the views of an image, and join the maps of views into one map; shared by `image` and `detectors`.

The patch grid is that of HiDA-Net ("No Pixel Left Behind", ICLR 2026): a side of length L >= P has N = ceil(L / P)
patches of side P. Patch i < N - 1 starts at i * P, the last one at L - P, so that they cover every pixel without
padding or resizing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

PATCH = 224
CELL = 16  # side of a cell of a heatmap, pixels


@dataclass(frozen=True)
class ViewPlan:
    """Division of an image into views.

    Attributes:
        side: Side of a view in pixels, at native resolution; None for the whole image at its own size.
        thumbnail: Whether the first view is the whole image, resized to `side`.
        patches: "all" patches of the grid; the maximum size of a spatially stratified sample, 0 for none; or "centre",
            one patch in the middle of the image, off the grid.
    """

    side: int | None = PATCH
    thumbnail: bool = True
    patches: Literal["all", "centre"] | int = "all"

    def limited(self, max_patches: int | None) -> ViewPlan:
        """Return the plan with at most `max_patches` patches; None for no limit."""
        if max_patches is None or self.side is None or self.patches == "centre":
            return self
        return replace(self, patches=max_patches if self.patches == "all" else min(max_patches, self.patches))


class Box(NamedTuple):
    """A rectangle in pixels of the image as stored."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class PatchGrid:
    """Patch grid of an image of (height, width) pixels.

    A side shorter than a patch counts as one patch: the image is mirrored there before it is cut.
    """

    height: int  # height of the image, pixels
    width: int  # width of the image, pixels
    side: int  # side of a patch, pixels
    tops: tuple[int, ...]  # top edges of the rows of patches
    lefts: tuple[int, ...]  # left edges of the columns of patches

    def __len__(self) -> int:
        """Return the number of patches K."""
        return len(self.tops) * len(self.lefts)

    def boxes(self) -> list[Box]:
        """Return the box of every patch, row by row."""
        return [Box(left, top, self.side, self.side) for top in self.tops for left in self.lefts]


def starts(length: int, side: int = PATCH) -> tuple[int, ...]:
    """Return the first pixel of each patch along one side of an image.

    Raises:
        ValueError: If `length` is shorter than a patch.
    """
    if length < side:
        raise ValueError(f"a side of {length} px is shorter than a patch of {side} px")
    count = math.ceil(length / side)
    return (*range(0, (count - 1) * side, side), length - side)


def patch_grid(height: int, width: int, side: int = PATCH) -> PatchGrid:
    """Return the patch grid of an image of (height, width) pixels."""
    return PatchGrid(height, width, side, starts(max(height, side), side), starts(max(width, side), side))


def stratified_sample(grid: PatchGrid, max_patches: int) -> list[int]:
    """Draw patches spread over the image, the same ones each time, as in GLASS ("Attention to Detail", 2026).

    The grid is divided into nearly square rectangles, and one patch is drawn from each.

    Args:
        grid: Grid to draw from.
        max_patches: Maximum number of patches, at least 1.

    Returns:
        Patch numbers in ascending order, at most `max_patches`.
    """
    rows, cols = len(grid.tops), len(grid.lefts)
    down = min(rows, max(1, round(math.sqrt(max_patches * rows / cols))), max_patches)
    across = min(cols, max_patches // down)
    rng = np.random.default_rng(0)
    drawn = []
    for top in range(down):
        for left in range(across):
            row = rng.integers(top * rows // down, (top + 1) * rows // down)
            col = rng.integers(left * cols // across, (left + 1) * cols // across)
            drawn.append(int(row * cols + col))
    return sorted(drawn)


def spread_order(grid: PatchGrid) -> list[int]:
    """Order the patches of a grid so that every prefix is spread over the image (farthest-point sampling).

    The first patch is the one nearest to the middle; each next one is farthest from all before it.
    """
    places = np.array([(top, left) for top in grid.tops for left in grid.lefts], dtype=np.float64)
    middle = np.array([grid.tops[-1], grid.lefts[-1]]) / 2
    number = int(((places - middle) ** 2).sum(1).argmin())
    order, nearest = [number], np.full(len(places), np.inf)
    for _ in range(len(places) - 1):
        nearest = np.minimum(nearest, ((places - places[number]) ** 2).sum(1))
        nearest[number] = -1
        number = int(nearest.argmax())
        order.append(number)
    return order


def cell_shares(first: tuple[int, ...], parts: int, length: int, patch: int) -> np.ndarray:
    """Return the weights by which parts of patches are averaged into cells, along one side of an image.

    Args:
        first: First pixel of each patch.
        parts: Number of equal parts of a patch, such as 14 tokens.
        length: Length of the side of the image, pixels.
        patch: Side of a patch, pixels.

    Returns:
        (cells, patches * parts) float32; rows sum to 1.
    """
    side = patch / parts
    part_start = (np.asarray(first)[:, None] + np.arange(parts)[None] * side).reshape(1, -1)
    cell_start = (np.arange(math.ceil(length / CELL)) * CELL)[:, None]
    cell_end = np.minimum(cell_start + CELL, length)
    shared = np.minimum(cell_end, part_start + side) - np.maximum(cell_start, part_start)
    shared = np.clip(shared, 0, None).astype(np.float32)
    return shared / shared.sum(axis=1, keepdims=True)


def hysteresis(likely: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Apply hysteresis: keep the 8-connected regions of `likely` (h, w) bool that contain a `sure` cell."""
    import cv2  # here, as planning views does not need it

    count, labels = cv2.connectedComponents(likely.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[np.unique(labels[sure])] = True
    kept[0] = False  # the background
    return kept[labels]

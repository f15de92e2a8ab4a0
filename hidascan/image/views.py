"""Cut an image into the views that a detector asked for: views into its pixels, no copies."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidascan.geometry import PATCH, Box, PatchGrid, ViewPlan, patch_grid, stratified_sample

MIN_SIDE = 64  # shortest side of an image that is looked at in its own size, pixels


@dataclass(frozen=True)
class Views:
    """Views of one image for a detector: the thumbnail first, if there is one.

    Attributes:
        pixels: Pixels of each view, (height, width, 3) uint8 RGB.
        boxes: Box of each view in the image, in pixels as stored.
        thumbnail: Whether the first view is the thumbnail.
        patches: Number of views that are patches.
        grid: Grid whose patches are all among the views; None if some are missing.
    """

    pixels: list[np.ndarray]
    boxes: list[Box]
    thumbnail: bool = False
    patches: int = 0
    grid: PatchGrid | None = None

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.boxes)


def cut_views(pixels: np.ndarray, plan: ViewPlan, orientation: int = 1) -> Views:
    """Cut an image by a plan.

    Patches are cut as the pixels are stored, since turning an image would move the block grid of its JPEG. The
    thumbnail is about content, so it is turned upright.

    Args:
        pixels: (H, W, 3) uint8 RGB as stored.
        plan: Division that the detector needs.
        orientation: EXIF orientation, 1..8.
    """
    height, width = pixels.shape[:2]
    whole = Box(0, 0, width, height)
    if plan.side is None:
        return Views([mirror_to(pixels, MIN_SIDE)], [whole])
    views, boxes = [], []
    if plan.thumbnail:
        views.append(upright(thumbnail(pixels, plan.side), orientation))
        boxes.append(whole)
    mirrored = mirror_to(pixels, plan.side)
    chosen, grid = _patches(height, width, plan)
    for box in chosen:
        left, top, across, down = box
        views.append(mirrored[top : top + down, left : left + across])
        boxes.append(box)
    return Views(views, boxes, plan.thumbnail, len(chosen), grid)


def _patches(height: int, width: int, plan: ViewPlan) -> tuple[list[Box], PatchGrid | None]:
    """Return the boxes of the patches that a plan asks for, and their grid if they are all that it has."""
    side = plan.side or PATCH
    if plan.patches == "centre":
        return [Box(max(0, width - side) // 2, max(0, height - side) // 2, side, side)], None
    grid = patch_grid(height, width, side)
    if plan.patches == "all" or plan.patches >= len(grid):
        return grid.boxes(), grid
    places = grid.boxes()
    return [places[number] for number in stratified_sample(grid, plan.patches)] if plan.patches else [], None


def mirror_to(pixels: np.ndarray, side: int = PATCH) -> np.ndarray:
    """Extend sides shorter than `side` by mirroring, at the bottom and on the right; leave longer sides as they are.

    This is the one case that the grid cannot cover as it is. Mirroring keeps the pixels and their high frequencies,
    which enlarging would not. (H, W, 3) uint8 in and out.
    """
    height, width = pixels.shape[:2]
    below, right = max(0, side - height), max(0, side - width)
    if not (below or right):
        return pixels
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")


def thumbnail(pixels: np.ndarray, side: int = PATCH) -> np.ndarray:
    """Resize a whole image to (side, side, 3) uint8: area-averaged where it shrinks, bicubic where it grows."""
    height, width = pixels.shape[:2]
    narrowed = _resize(pixels, height, side, grows=width < side)
    return _resize(narrowed, side, side, grows=height < side)


def _resize(pixels: np.ndarray, height: int, width: int, grows: bool) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    kernel = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array (H, W, ...) the way its EXIF orientation, 1..8, says that it should be looked at."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    flip_rows, flip_cols = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1]

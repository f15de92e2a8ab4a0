"""Cut an image into the views of a detector's plan, without copying pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidascan.geometry import PATCH, Box, PatchGrid, ViewPlan, patch_grid, stratified_sample

MIN_SIDE = 64  # minimum side of an image that is encoded at its own size, pixels


@dataclass(frozen=True)
class Views:
    """Views of one image for a detector: the thumbnail first, if there is one."""

    pixels: list[np.ndarray]  # views, each (height, width, 3) uint8 RGB
    boxes: list[Box]  # boxes of the views in the image, pixels as stored
    thumbnail: bool = False  # whether the first view is the thumbnail
    patches: int = 0  # number of patches among the views
    grid: PatchGrid | None = None  # grid of the patches; None if some of its patches are missing

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.boxes)


def cut_views(pixels: np.ndarray, plan: ViewPlan, orientation: int = 1) -> Views:
    """Cut an image into the views of a plan.

    Patches are cut from pixels as stored, as rotation would move the JPEG block grid. The thumbnail represents
    content, so it is turned upright. Pixels are (H, W, 3) uint8 RGB; `orientation` is that of EXIF, 1..8.
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
    views += [mirrored[box.top : box.top + box.height, box.left : box.left + box.width] for box in chosen]
    boxes += chosen
    return Views(views, boxes, plan.thumbnail, len(chosen), grid)


def _patches(height: int, width: int, plan: ViewPlan) -> tuple[list[Box], PatchGrid | None]:
    """Return the boxes of the patches of a plan, and the grid if they cover it completely."""
    side = plan.side or PATCH
    if plan.patches == "centre":
        return [Box(max(0, width - side) // 2, max(0, height - side) // 2, side, side)], None
    grid = patch_grid(height, width, side)
    places = grid.boxes()
    if plan.patches == "all" or plan.patches >= len(places):
        return places, grid
    return [places[number] for number in stratified_sample(grid, plan.patches)] if plan.patches else [], None


def mirror_to(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pad sides of (H, W, 3) uint8 shorter than `side` by mirroring, at the bottom and on the right.

    Unlike enlarging, this keeps the pixels and their high frequencies.
    """
    height, width = pixels.shape[:2]
    below, right = max(0, side - height), max(0, side - width)
    if not (below or right):
        return pixels
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")


def thumbnail(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize a whole image to (side, side, 3) uint8: by area averaging to shrink, bicubic to enlarge."""
    height, width = pixels.shape[:2]
    narrowed = _resize(pixels, height, side, grows=width < side)
    return _resize(narrowed, side, side, grows=height < side)


def _resize(pixels: np.ndarray, height: int, width: int, grows: bool) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    kernel = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return cv2.resize(pixels, (width, height), interpolation=kernel)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array (H, W, ...) upright by its EXIF orientation, 1..8."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    flip_rows, flip_cols = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1]

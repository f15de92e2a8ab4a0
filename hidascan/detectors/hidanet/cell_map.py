"""What patches say of their parts, joined into one map of the image's cells."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hidascan.geometry import CELL, PatchGrid, cell_shares


def cell_map(values: Tensor, grid: PatchGrid, cell: int = CELL) -> Tensor:
    """Join what overlapping patches say of their parts into one map of square cells.

    Each cell is the mean of the parts over it, weighted by the area that they share. The weights are separable, so
    the map is R V C^T.

    Args:
        values: (K, h, w, E) float32, E numbers for each of the h x w parts of a patch, in the order of `grid.boxes()`.
        grid: The grid of all K patches.
        cell: Side of a cell, pixels.

    Returns:
        (ceil(height / cell), ceil(width / cell), E) float32.

    Raises:
        ValueError: If there are not as many patches as the grid has.
    """
    count, rows, cols, numbers = values.shape
    if count != len(grid):
        raise ValueError(f"{count} patches of values for a grid of {len(grid)}")
    mosaic = values.reshape(len(grid.tops), len(grid.lefts), rows, cols, numbers).transpose(1, 2)
    mosaic = mosaic.reshape(len(grid.tops) * rows, len(grid.lefts) * cols * numbers)
    down, across = _shares(grid, rows, cols, cell, values.device)
    return across @ (down @ mosaic).view(len(down), -1, numbers)


@functools.lru_cache(maxsize=8)  # images of one size often follow each other
def _shares(grid: PatchGrid, rows: int, cols: int, cell: int, device: torch.device) -> tuple[Tensor, Tensor]:
    down = cell_shares(grid.tops, rows, grid.height, cell, grid.side)
    across = cell_shares(grid.lefts, cols, grid.width, cell, grid.side)
    with torch.inference_mode(False):  # whoever asks first must not decide what others may do with them
        return torch.from_numpy(down).to(device), torch.from_numpy(across).to(device)

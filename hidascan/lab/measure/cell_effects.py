"""Measure the influence of each cell of a view: the total direct effect ("All Patches Matter, More Patches Better").

`--explain` removes patches at no cost; this sets cells of a view to zero, which costs one pass each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.base import Positions
from hidascan.finding import Attribution
from hidascan.geometry import Box
from hidascan.image.views import cut_views
from hidascan.scanner import Scanner

_BATCH = 16  # views


@torch.inference_mode()
def measure_cell_effects(
    scanner: Scanner, pixels: np.ndarray, grid: int, on_batch: Callable[[int], object] = lambda views: None
) -> list[Attribution]:
    """Return, for each of grid x grid cells of every view, the logit with all cells minus that with this one black.

    Cells of overlapping patches stay separate; the cells of a thumbnail cover the whole image.

    Args:
        scanner: Scanner to measure.
        pixels: (H, W, 3) uint8.
        grid: Number of cells along a side of a view.
        on_batch: Callback that gets the number of encoded views.
    """
    detector, cut = scanner.detector, cut_views(pixels, scanner.plan)
    device = scanner.device
    views = [torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1) for view in cut.pixels]

    def encode(batch: list[Tensor], number: int) -> dict[str, Tensor]:
        box, thumbnail = cut.boxes[number], cut.thumbnail and number == 0
        where = Positions(
            torch.tensor([thumbnail] * len(batch), device=device),
            torch.tensor([[box.top, box.left]] * len(batch), device=device),
        )
        on_batch(len(batch))
        return scanner.encode(torch.stack(batch).to(device), where)

    parts = [encode([view], number) for number, view in enumerate(views)]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    logit = detector.decide(whole).logit
    effects = []
    for number, view in enumerate(views):
        places = [(row, column) for row in range(grid) for column in range(grid)]
        for first in range(0, len(places), _BATCH):
            here = places[first : first + _BATCH]
            rows = encode([_without(view, grid, *place) for place in here], number)
            for copy, place in enumerate(here):
                changed = {name: tensor.clone() for name, tensor in whole.items()}
                for name, tensor in changed.items():
                    tensor[number] = rows[name][copy]
                effect = float(logit - detector.decide(changed).logit)
                effects.append(Attribution(*_part(cut.boxes[number], grid, *place), effect))
    return effects


def _edges(length: int, grid: int, place: int) -> tuple[int, int]:
    return place * length // grid, (place + 1) * length // grid


def _without(view: Tensor, grid: int, row: int, column: int) -> Tensor:
    """Return a view (3, H, W) with one black cell."""
    top, bottom = _edges(view.shape[1], grid, row)
    left, right = _edges(view.shape[2], grid, column)
    copy = view.clone()
    copy[:, top:bottom, left:right] = 0
    return copy


def _part(box: Box, grid: int, row: int, column: int) -> Box:
    top, bottom = _edges(box.height, grid, row)
    left, right = _edges(box.width, grid, column)
    return Box(box.left + left, box.top + top, right - left, bottom - top)

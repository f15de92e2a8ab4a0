"""Measure the influence of each cell of a view: the total direct effect ("All Patches Matter, More Patches Better").

`--explain` removes patches at no cost; this sets cells of a view to zero, which costs one pass each.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.base import Positions
from hidascan.finding import Attribution
from hidascan.geometry import Box
from hidascan.image.views import cut_views
from hidascan.scanner import Scanner

_BATCH = 16  # views


@torch.inference_mode()
def measure_cell_effects(scanner: Scanner, pixels: np.ndarray, grid: int) -> list[Attribution]:
    """Return, for each of grid x grid cells of every view, the logit with all cells minus that with this one black.

    Pixels are (H, W, 3) uint8. Cells of overlapping patches stay separate; those of a thumbnail cover the whole image.
    """
    detector, cut, device = scanner.detector, cut_views(pixels, scanner.plan), scanner.device
    views = [torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1) for view in cut.pixels]

    def encode(batch: list[Tensor], number: int) -> dict[str, Tensor]:
        box, thumbnail = cut.boxes[number], cut.thumbnail and number == 0
        thumbnails = torch.tensor([thumbnail] * len(batch), device=device)
        corners = torch.tensor([[box.top, box.left]] * len(batch), device=device)
        return scanner.encode(torch.stack(batch).to(device), Positions(thumbnails, corners))

    parts = [encode([view], number) for number, view in enumerate(views)]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    logit = detector.decide(whole).logit
    effects, places = [], [(row, column) for row in range(grid) for column in range(grid)]
    for number, view in enumerate(tqdm(views, desc="tde", unit=" views", disable=None)):
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

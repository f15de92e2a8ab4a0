"""Measure the influence of each cell of a view: the total direct effect ("All Patches Matter, More Patches Better").

`--explain` removes patches at no cost; this sets cells of a view to zero, which costs one pass each.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from tqdm import tqdm

from hidascan.examination import tensors_of
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
    detector, views = scanner.detector, cut_views(pixels, scanner.plan)
    parts = [scanner.encode(*tensors_of(views, [number], scanner.device)) for number in range(len(views))]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    logit = detector.decide(whole).logit
    effects, places = [], list(itertools.product(range(grid), repeat=2))
    for number, view in enumerate(tqdm(views.boxes, desc="tde", unit=" views", disable=None)):
        for first in range(0, len(places), _BATCH):
            here = places[first : first + _BATCH]
            copies, where = tensors_of(views, [number] * len(here), scanner.device)
            for copy, place in zip(copies, here, strict=True):
                left, top, width, height = _cell(Box(0, 0, copy.shape[2], copy.shape[1]), grid, *place)
                copy[:, top : top + height, left : left + width] = 0
            rows = scanner.encode(copies, where)
            for row, place in enumerate(here):
                changed = {name: tensor.clone() for name, tensor in whole.items()}
                for name, tensor in changed.items():
                    tensor[number] = rows[name][row]
                effect = float(logit - detector.decide(changed).logit)
                effects.append(Attribution(*_cell(view, grid, *place), effect))
    return effects


def _cell(view: Box, grid: int, row: int, column: int) -> Box:
    """Return the box of a cell of a view."""
    top, bottom = (view.height * place // grid for place in (row, row + 1))
    left, right = (view.width * place // grid for place in (column, column + 1))
    return Box(view.left + left, view.top + top, right - left, bottom - top)

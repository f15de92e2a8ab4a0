"""Compute the filtered residuals of pairs, for the training of TFL."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.geometry import ViewPlan, cell_map, patch_grid
from hidascan.image.views import cut_views
from hidascan.lab.hidanet.pairs import Pairs


def patches_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut (H, W, 3) uint8 into patches (K, 3, 224, 224) uint8, and return their corners (K, 2) too."""
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    corners = torch.tensor([[box.top, box.left] for box in views.boxes])
    return torch.from_numpy(np.stack(views.pixels)).permute(0, 3, 1, 2), corners


def pair_residuals(filters: ResidualFilters, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the residuals of photos and of their copies, (P, h, w, E) float16 each, as a scan has them."""
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number in tqdm(range(len(pairs)), desc="residuals of pairs", disable=None):
        for side, pixels in zip(sides, pairs[number][:2], strict=True):
            cells = cell_map(filters(*patches_of(pixels)).numpy(), patch_grid(*pixels.shape[:2]))
            side.append(torch.from_numpy(cells).half())
    return torch.stack(sides[0]), torch.stack(sides[1])

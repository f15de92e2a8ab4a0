"""Compute what TFL sees of the cells of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.cell_map import cell_map
from hidascan.detectors.hidanet.residuals import ResidualFilters, in_phase, residual_features
from hidascan.detectors.hidanet.token_filters import TokenFilters, cells_of
from hidascan.geometry import ViewPlan, patch_grid
from hidascan.image.views import cut_views
from hidascan.lab.hidanet.pairs import Pairs


@dataclass(frozen=True)
class CellFilters:
    """What turns the patches of an image into what TFL sees of its cells."""

    residuals: ResidualFilters
    tokens: TokenFilters | None

    @property
    def sizes(self) -> dict[str, int]:
        """As fields of HiDANetConfig."""
        sizes = {"residual_filters": self.residuals.filters.shape[1]}
        return sizes if self.tokens is None else sizes | {"cell_filters": self.tokens.filters.shape[1]}


def patches_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut (H, W, 3) uint8 into patches (K, 3, 224, 224) uint8, and return their corners (K, 2) too."""
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    corners = torch.tensor([[box.top, box.left] for box in views.boxes])
    return torch.from_numpy(np.stack(views.pixels)).permute(0, 3, 1, 2), corners


def tokens_of(backbone: FrozenViT, taps: Sequence[int], pixels: np.ndarray) -> Tensor:
    """Return the patch tokens of `taps` of the patches of (H, W, 3) uint8: (K, h, w, T * C) float32."""
    tapped = backbone(patches_of(pixels)[0].to(backbone.mean.device))
    return cells_of([tapped[:, backbone.taps.index(tap), 1:] for tap in taps]).cpu()


def pair_cells(
    several: Sequence[CellFilters], pairs: Pairs, backbone: FrozenViT | None, taps: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Return, by each of the filters, what TFL sees of photos and of second sides, as in a scan.

    Each is (P, h, w, E) float16. All filters are applied in one pass: what they are applied to costs most.
    """
    made: list[tuple[Tensor, Tensor]] = []
    for number in tqdm(range(len(pairs)), desc="cells of pairs", disable=None):
        for place, pixels in enumerate(pairs[number][:2]):
            cells = _cells(several, pixels, backbone, taps)
            if not made:  # all at once: many small tensors among large ones that come and go would fill the memory
                made = [(_room_for(part, len(pairs)), _room_for(part, len(pairs))) for part in cells]
            for sides, part in zip(made, cells, strict=True):
                sides[place][number] = part
    return made


def _cells(
    several: Sequence[CellFilters], pixels: np.ndarray, backbone: FrozenViT | None, taps: Sequence[int]
) -> list[Tensor]:
    """Return, by each of the filters, what TFL sees of (H, W, 3) uint8: (h, w, E)."""
    grid, features = patch_grid(*pixels.shape[:2]), residual_features(in_phase(*patches_of(pixels)))
    tokens = None if backbone is None else tokens_of(backbone, taps, pixels)
    cells = []
    for filters in several:
        parts = [cell_map(filters.residuals.filtered(features.clone()), grid)]
        if filters.tokens is not None and tokens is not None:
            parts.append(cell_map(filters.tokens.filtered(tokens.clone()), grid))
        cells.append(torch.cat(parts, dim=2))
    return cells


def _room_for(part: Tensor, count: int) -> Tensor:
    return torch.empty((count, *part.shape), dtype=torch.float16)

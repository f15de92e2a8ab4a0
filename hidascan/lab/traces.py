"""Traces of pairs, for the training of the token head."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.image.tiles import cell_map, patch_grid, patches
from hidascan.lab.pairs import Pairs
from hidascan.model.detail import DetailStem


def views_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """(H, W, 3) uint8 -> its patches (K, 3, 224, 224) uint8 and their corners (K, 2)."""
    grid = patch_grid(*pixels.shape[:2])
    return torch.from_numpy(np.stack(patches(pixels, grid))).permute(0, 3, 1, 2), torch.tensor(grid.corners())


def pair_traces(stem: DetailStem, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of photos and of their copies, (P, h, w, E) float16 each, as a scan has them."""
    found: tuple[list[Tensor], list[Tensor]] = [], []
    for number in tqdm(range(len(pairs)), desc="traces of pairs", disable=None):
        for kept, pixels in zip(found, pairs[number][:2], strict=True):
            cells = cell_map(stem(*views_of(pixels)).numpy(), patch_grid(*pixels.shape[:2]))
            kept.append(torch.from_numpy(cells).half())
    return tuple(torch.stack(kept) for kept in found)

"""The heatmap: values of patches joined into a map of cells, and the thresholds from which cells count."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.geometry import CELL, PatchGrid, cell_shares, seeded

_STEEPNESS = 8.0  # of a patch's evidence, whose logits lie between about -1 and 1, on the scale of TFL's
SMALL, LARGE = 3, 19  # cells, sides of neighbourhoods
_BACKGROUND_SHARE = 0.25  # share of the cells of a picture that are taken for its background
_COLD_BACKGROUND = -4.0  # logit up to which a background is that of an untouched photo
_COLD = 1.0  # logits by which cells without a seed are pushed under the threshold


def cell_map(values: Tensor, grid: PatchGrid, cell: int = CELL) -> Tensor:
    """Join values of parts of overlapping patches into one map of square cells.

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


class HeatmapThresholds(nn.Module):
    """Joins logits of cells and evidence of patches into a map in which 0.5 is the threshold.

    Thresholds have hysteresis, as edges have in "A Computational Approach to Edge Detection" (PAMI 1986): a region must
    hold a seed, and then reaches as far as cells are likely. A seed is a neighbourhood that is sure in the mean: a small
    one of strong evidence, or a large one of weaker evidence, such as a generated picture in a screenshot. A single cell
    makes no region, so photos stay cold, and regions whole.

    Attributes:
        likely: () Threshold of TFL's logits from which a cell may belong to a region.
        sure: () Threshold of their mean over a small neighbourhood, which makes a seed.
        sure_area: () Threshold of their mean over a large neighbourhood, which makes one, too.
        evidence: () Threshold of the kernel probe's logits from which a patch is hot as a whole.
    """

    likely: Tensor
    sure: Tensor
    sure_area: Tensor
    evidence: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("likely", torch.tensor(0.0))
        self.register_buffer("sure", torch.tensor(0.0))
        self.register_buffer("sure_area", torch.tensor(0.0))
        self.register_buffer("evidence", torch.tensor(1.0))

    def forward(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return p(AI) (h, w) of cells, at least 0.5 where they count as AI-made.

        Args:
            cells: (h, w) logits of TFL.
            patches: (h, w) logits of the kernel probe of the patches around; None without these.
        """
        cells = above_background(cells[None])
        logits = self._over_likely(cells, patches)[0]
        seeds = self._over_sure(cells, patches)[0]
        hot = torch.from_numpy(seeded(logits.cpu().numpy(), seeds.cpu().numpy(), 0.0, 0.0)).to(logits.device)
        return torch.sigmoid(torch.where(hot, logits, _cooled(logits)))

    def hottest(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return the largest p(AI) (K,) on the map of each of K patches by itself.

        The surest neighbourhood makes a region, or none does, so that no regions need be found.

        Args:
            cells: (K, h, w) logits of TFL.
            patches: (K,) logits of the kernel probe.
        """
        evidence = None if patches is None else patches[:, None, None]
        cells = above_background(cells)
        logits = self._over_likely(cells, evidence)
        seeds = self._over_sure(cells, evidence).where(logits >= 0, -torch.inf).amax((1, 2))
        hottest = logits.amax((1, 2))
        return torch.sigmoid(torch.where(seeds >= 0, hottest, _cooled(hottest)))

    def _over_likely(self, cells: Tensor, patches: Tensor | None) -> Tensor:
        """Return by how much cells (B, h, w) exceed the lower threshold; patches that are hot as a whole do so clearly."""
        logits, room = cells - self.likely, (self.sure - self.likely).clamp_min(0)
        return logits if patches is None else torch.maximum(logits, room + _STEEPNESS * (patches - self.evidence))

    def _over_sure(self, cells: Tensor, patches: Tensor | None) -> Tensor:
        """Return by how much the surest of small neighbourhood, large neighbourhood and patch exceeds its threshold."""
        small, large = (neighbourhood_means(cells, side) for side in (SMALL, LARGE))
        seeds = torch.maximum(small - self.sure, large - self.sure_area)
        return seeds if patches is None else torch.maximum(seeds, _STEEPNESS * (patches - self.evidence))


def above_background(cells: Tensor) -> Tensor:
    """Lower the logits (B, h, w) of pictures that are warm all over, so that only what stands out is left.

    TFL looks for parts that differ from the rest; whether all of a picture is generated is for the kernel probe to say.
    """
    background = cells.flatten(1).quantile(_BACKGROUND_SHARE, dim=1)
    return cells - (background - _COLD_BACKGROUND).clamp_min(0)[:, None, None]


def neighbourhood_means(cells: Tensor, side: int) -> Tensor:
    """Average (B, h, w) over whole neighbourhoods of side x side cells, in the same shape; -inf where one is cut off."""
    if min(cells.shape[1:]) < side:
        return torch.full_like(cells, -torch.inf)
    means, border = F.avg_pool2d(cells[:, None], side, 1)[:, 0], side // 2
    return F.pad(means, (border, border, border, border), value=-torch.inf)


def _cooled(logits: Tensor) -> Tensor:
    """Push cells without a seed under the threshold, and keep their order: those above it go to -1..-0.5."""
    return torch.where(logits < 0, logits, _COLD / 2 * logits / (logits.abs() + _COLD)) - _COLD

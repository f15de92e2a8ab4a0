"""The heatmap: values of patches joined into a map of cells, and the thresholds of regions."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.geometry import PatchGrid, cell_shares, seeded

_STEEPNESS = 8.0  # factor from a patch's kernel vote, about -1 to 1, to the scale of TFL's logits
SMALL, LARGE = 3, 19  # cells, sides of neighbourhoods
_BACKGROUND_SHARE = 0.25  # quantile of a picture's cells that counts as its background
_COLD_BACKGROUND = -4.0  # largest background logit of an untouched photo
_COLD = 1.0  # logits by which cells without a seed are lowered below the threshold


def cell_map(values: Tensor, grid: PatchGrid) -> Tensor:
    """Join values of parts of overlapping patches into one map of square cells.

    Each cell is the mean of the parts that overlap it, weighted by the common area. The weights are separable, so the
    map is R V C^T.

    Args:
        values: (K, h, w, E) float32, E numbers for each of the h x w parts of a patch, in the order of `grid.boxes()`.
        grid: Grid of all K patches.

    Returns:
        (ceil(height / 16), ceil(width / 16), E) float32.

    Raises:
        ValueError: If the number of patches is not that of the grid.
    """
    count, rows, cols, numbers = values.shape
    if count != len(grid):
        raise ValueError(f"{count} patches of values for a grid of {len(grid)}")
    mosaic = values.reshape(len(grid.tops), len(grid.lefts), rows, cols, numbers).transpose(1, 2)
    mosaic = mosaic.reshape(len(grid.tops) * rows, len(grid.lefts) * cols * numbers)
    down, across = _shares(grid, rows, cols, values.device)
    return across @ (down @ mosaic).view(len(down), -1, numbers)


@functools.lru_cache(maxsize=8)  # images of one size often follow each other
def _shares(grid: PatchGrid, rows: int, cols: int, device: torch.device) -> tuple[Tensor, Tensor]:
    down = cell_shares(grid.tops, rows, grid.height, grid.side)
    across = cell_shares(grid.lefts, cols, grid.width, grid.side)
    with torch.inference_mode(False):  # the first caller's inference mode must not restrict later ones
        return torch.from_numpy(down).to(device), torch.from_numpy(across).to(device)


class HeatmapThresholds(nn.Module):
    """Combines logits of cells and kernel votes of patches into a map of p(AI) whose threshold is 0.5.

    The thresholds have hysteresis, like those of edges in "A Computational Approach to Edge Detection" (PAMI 1986): a
    region must contain a seed, and extends over cells above a lower threshold. A seed is a neighbourhood whose mean
    exceeds a strict threshold: a small one with strong evidence, or a large one with weaker evidence, such as a
    generated picture in a screenshot. A single cell is not a region, so that photos stay unmarked and regions stay connected.

    Attributes:
        likely: () Threshold of TFL's logits for cells of a region.
        sure: () Threshold of their mean over a small neighbourhood for a seed.
        sure_area: () Threshold of their mean over a large neighbourhood for a seed.
        evidence: () Threshold of the kernel probe's logits for patches that are marked as a whole.
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
        """Return p(AI) (h, w) of cells, at least 0.5 in regions.

        Args:
            cells: (h, w) logits of TFL.
            patches: (h, w) logits of the kernel probe, of the patch around each cell; None without the probe.
        """
        cells = above_background(cells[None])
        logits = self._over_likely(cells, patches)[0]
        seeds = self._over_sure(cells, patches)[0]
        hot = torch.from_numpy(seeded((logits >= 0).cpu().numpy(), (seeds >= 0).cpu().numpy())).to(logits.device)
        return torch.sigmoid(torch.where(hot, logits, _cooled(logits)))

    def hottest(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return the largest p(AI) (K,) on the map of each of K patches alone.

        The strongest neighbourhood decides whether there is a region, so that no regions need to be grown.

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
        """Return the excess of cells (B, h, w) over the lower threshold; that of patches marked as a whole is large."""
        logits, room = cells - self.likely, (self.sure - self.likely).clamp_min(0)
        return logits if patches is None else torch.maximum(logits, room + _STEEPNESS * (patches - self.evidence))

    def _over_sure(self, cells: Tensor, patches: Tensor | None) -> Tensor:
        """Return the largest excess over the strict thresholds of small neighbourhood, large neighbourhood and patch."""
        small, large = (neighbourhood_means(cells, side) for side in (SMALL, LARGE))
        seeds = torch.maximum(small - self.sure, large - self.sure_area)
        return seeds if patches is None else torch.maximum(seeds, _STEEPNESS * (patches - self.evidence))


def above_background(cells: Tensor) -> Tensor:
    """Lower the logits (B, h, w) of pictures with a high background, so that only deviating parts remain.

    TFL detects parts that differ from the rest; the kernel probe detects wholly generated pictures.
    """
    background = cells.flatten(1).quantile(_BACKGROUND_SHARE, dim=1)
    return cells - (background - _COLD_BACKGROUND).clamp_min(0)[:, None, None]


def neighbourhood_means(cells: Tensor, side: int) -> Tensor:
    """Average (B, h, w) over complete neighbourhoods of side x side cells, in the same shape; -inf at the borders."""
    if min(cells.shape[1:]) < side:
        return torch.full_like(cells, -torch.inf)
    means, border = F.avg_pool2d(cells[:, None], side, 1)[:, 0], side // 2
    return F.pad(means, (border, border, border, border), value=-torch.inf)


def _cooled(logits: Tensor) -> Tensor:
    """Lower cells without a seed below the threshold, in the same order: positive logits become -1..-0.5."""
    return torch.where(logits < 0, logits, _COLD / 2 * logits / (logits.abs() + _COLD)) - _COLD

"""TFL: localise the cells of an image that contain AI-made pixels; join patches into a map, and find its regions."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.geometry import PatchGrid, cell_shares, hysteresis

_WINDOWS = (3, 7, 13)  # cells; and the whole image
_DILATIONS = (1, 2, 4, 8)  # cells
_ROWS = 64  # cells
_MIDDLE = 1  # index of the window compared with the first estimate
_STEEPNESS = 8.0  # factor from a patch's kernel vote, about -1 to 1, to the scale of TFL's logits
SMALL, LARGE = 3, 19  # cells, sides of neighbourhoods
_BACKGROUND_SHARE = 0.25  # quantile of a picture's cells that counts as its background
_COLD_BACKGROUND = -4.0  # largest background logit of an untouched photo
_COLD = 1.0  # logits by which cells without a seed are lowered below the threshold


class CellLocaliser(nn.Module):
    """TFL: an MLP per cell, then dilated convolutions, on filtered features averaged over windows of several sizes.

    The MLP makes a first estimate for each cell. The convolutions also read the similarity of each cell to the mean of
    the cells found so far and to the mean of the rest, which reveals a region that differs from its surroundings; and
    the neighbouring cells, as regions are connected.

    The input is neither pixels nor tokens but a few filtered values of both (`ResidualFilters`, `TokenFilters`), because
    pixels and tokens depend far more on content than on the way it was made.
    """

    def __init__(self, numbers: int, dim: int, dropout: float):
        super().__init__()
        pooled = numbers * (len(_WINDOWS) + 1)
        self.first = _mlp(pooled, dim, dropout)
        self.second = _Neighbourhood(pooled + 2 * numbers + 4, dim // 2, dropout)

    def forward(self, cells: Tensor) -> Tensor:
        """Return logits (B, h, w) of AI-made pixels in each cell, from the cells (B, E, h, w) of whole images."""
        return self.logits_of_both(cells)[1]

    def logits_of_both(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the MLP and of the convolutions, (B, h, w) each."""
        windows = [_box_means(cells, size) for size in _WINDOWS]
        pooled = [*windows, cells.mean((2, 3), keepdim=True).expand_as(cells)]
        first = _in_strips(self.first, pooled)
        compared = _compared(windows[_MIDDLE], first.detach())
        second = _in_strips(self.second, [*pooled, *compared], halo=sum(_DILATIONS))
        return first[:, 0], second[:, 0]


def _mlp(inputs: int, dim: int, dropout: float) -> nn.Sequential:
    """Build an MLP applied to each cell: (B, inputs, h, w) -> (B, 1, h, w)."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.Dropout(dropout),
        nn.Conv2d(inputs, dim, 1),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Conv2d(dim, dim, 1),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Conv2d(dim, 1, 1),
    )


class _Neighbourhood(nn.Module):
    """Residual blocks of dilated 3x3 convolutions over cells: (B, inputs, h, w) -> (B, 1, h, w)."""

    def __init__(self, inputs: int, dim: int, dropout: float):
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm2d(inputs), nn.Dropout(dropout), nn.Conv2d(inputs, dim, 1))
        self.blocks = nn.ModuleList(_dilated(dim, dilation) for dilation in _DILATIONS)
        self.leave = nn.Sequential(nn.GELU(), nn.Conv2d(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, 1, h, w)."""
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)


def _dilated(dim: int, dilation: int) -> nn.Sequential:
    around = nn.Conv2d(dim, dim, 3, padding=dilation, dilation=dilation, padding_mode="replicate")
    return nn.Sequential(nn.GELU(), around, nn.GELU(), nn.Conv2d(dim, dim, 1))


def _in_strips(module: nn.Module, channels: list[Tensor], halo: int = 0) -> Tensor:
    """Run a module whose output depends on `halo` rows to each side, on channels (B, C_i, h, w), in strips.

    A huge image would not fit in memory as a whole.
    """
    height, strips = channels[0].shape[2], []
    for top in range(0, height, _ROWS):
        first, last = max(0, top - halo), min(height, top + _ROWS + halo)
        strip = module(torch.cat([part[:, :, first:last] for part in channels], dim=1))
        strips.append(strip[:, :, top - first : top - first + _ROWS])
    return torch.cat(strips, dim=2)


def _compared(cells: Tensor, logits: Tensor) -> list[Tensor]:
    """Compare cells (B, E, h, w) with the region of a first estimate (B, 1, h, w) and the rest: 2 E + 4 channels."""
    p_ai = torch.sigmoid(logits)
    inside, outside = (_weighted_mean(cells, weights.square()) for weights in (p_ai, 1 - p_ai))
    nearer = (cells - outside).square() - (cells - inside).square()
    area = p_ai.mean((2, 3), keepdim=True).expand_as(p_ai)
    guess = [logits, area, _box_means(p_ai, _WINDOWS[_MIDDLE]), nearer.mean(1, keepdim=True)]
    return [nearer, (inside - outside).expand_as(cells), *guess]


def _weighted_mean(x: Tensor, weights: Tensor) -> Tensor:
    """Average (B, E, h, w) with weights (B, 1, h, w) into (B, E, 1, 1)."""
    return (x * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp_min(1e-3)


def _box_means(x: Tensor, size: int) -> Tensor:
    """Average (B, C, h, w) over boxes of size x size, cut off at the border; one axis after the other is cheaper."""
    rows = F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), 1, (0, size // 2), count_include_pad=False)


def cell_map(values: Tensor, grid: PatchGrid) -> Tensor:
    """Join values of parts of overlapping patches into one map of square cells.

    Each cell is the mean of the parts that overlap it, weighted by the common area. The weights are separable, so the
    map is R V C^T.

    Args:
        values: (K, h, w, E) float32, E numbers for each of the h x w parts of a patch, in the order of `grid.boxes()`.
        grid: Grid of all K patches.

    Returns:
        (ceil(height / 16), ceil(width / 16), E) float32.
    """
    _, rows, cols, numbers = values.shape
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
    """Combines logits of cells and kernel votes of patches into a map of values in 0..1 whose threshold is 0.5.

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
        """Return heatmap values (h, w), at least 0.5 in regions.

        Args:
            cells: (h, w) logits of TFL.
            patches: (h, w) logits of the kernel probe, of the patch around each cell; None without the probe.
        """
        cells = above_background(cells[None])
        logits = self._over_likely(cells, patches)[0]
        seeds = self._over_sure(cells, patches)[0]
        marked = torch.from_numpy(hysteresis((logits >= 0).cpu().numpy(), (seeds >= 0).cpu().numpy())).to(logits.device)
        return torch.sigmoid(torch.where(marked, logits, _cooled(logits)))

    def peak_values(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return the largest heatmap value (K,) of each of K patches, taken alone.

        The strongest neighbourhood decides whether there is a region, so that no regions need to be grown.

        Args:
            cells: (K, h, w) logits of TFL.
            patches: (K,) logits of the kernel probe.
        """
        evidence = None if patches is None else patches[:, None, None]
        cells = above_background(cells)
        logits = self._over_likely(cells, evidence)
        seeds = self._over_sure(cells, evidence).where(logits >= 0, -torch.inf).amax((1, 2))
        peaks = logits.amax((1, 2))
        return torch.sigmoid(torch.where(seeds >= 0, peaks, _cooled(peaks)))

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

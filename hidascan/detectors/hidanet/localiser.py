"""TFL: localise the cells of an image that contain AI-made pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WINDOWS = (3, 7, 13)  # cells; and the whole image
_DILATIONS = (1, 2, 4, 8)  # cells
_ROWS = 64  # cells
_MIDDLE = 1  # index of the window compared with the first estimate


class CellLocaliser(nn.Module):
    """TFL: an MLP per cell, then dilated convolutions, on filtered features averaged over windows of several sizes.

    The MLP makes a first estimate for each cell. The convolutions also read the similarity of each cell to the mean of
    the cells found so far and to the mean of the rest, which reveals a region that differs from its surroundings; and
    the neighbouring cells, as regions are connected.

    The input is neither pixels nor tokens but a few filtered values of both (`ResidualFilters`, `TokenFilters`), because
    pixels and tokens depend far more on content than on the way it was made.
    """

    def __init__(self, numbers: int, dim: int, dropout: float = 0.0):
        super().__init__()
        pooled = numbers * (len(_WINDOWS) + 1)
        self.first = _mlp(pooled, dim, dropout)
        self.second = _Neighbourhood(pooled + 2 * numbers + 4, dim // 2, dropout)

    def forward(self, cells: Tensor) -> Tensor:
        """Return logits (B, h, w) of AI-made pixels in each cell, from the cells (B, E, h, w) of whole images."""
        return self.both(cells)[1]

    def both(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the MLP and of the convolutions, (B, h, w) each."""
        windows = [_box_means(cells, size) for size in _WINDOWS]
        pooled = [*windows, cells.mean((2, 3), keepdim=True).expand_as(cells)]
        first = _by_rows(self.first, pooled)
        compared = _compared(windows[_MIDDLE], first.detach())
        second = _by_rows(self.second, [*pooled, *compared], reach=sum(_DILATIONS))
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


def _by_rows(module: nn.Module, channels: list[Tensor], reach: int = 0) -> Tensor:
    """Run a module with a receptive field of `reach` rows on channels (B, C_i, h, w), in strips.

    A huge image would not fit in memory as a whole.
    """
    height, strips = channels[0].shape[2], []
    for top in range(0, height, _ROWS):
        first, last = max(0, top - reach), min(height, top + _ROWS + reach)
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

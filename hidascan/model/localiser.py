"""TFL, the token head: which cells of an image hold AI pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.model.detail import DetailStem

_WINDOWS = (3, 7, 13)  # cells; and the whole image
_DILATIONS = (1, 2, 4, 8)  # cells
_ROWS = 64  # cells
_MIDDLE = 1  # of them: the one in which a cell is compared with what was found


class TokenLocaliser(nn.Module):
    """The traces of an image's cells, averaged over windows of several sizes, a perceptron, and convolutions.

    The perceptron says cell by cell where AI pixels seem to be. The convolutions see besides how much each cell is like
    the mean of what was found, and how much like the rest: a region that differs from all around it is told by that;
    and they see the cells around: regions hang together.

    It reads pixels and not the frozen tokens: those tell well what a patch shows and badly how it was made, and a
    region that went through a decoder differs in its texture alone.
    """

    def __init__(self, traces: int, dim: int, dropout: float = 0.0):
        super().__init__()
        self.stem = DetailStem(traces)
        pooled = traces * (len(_WINDOWS) + 1)
        self.first = _perceptron(pooled, dim, dropout)
        self.second = _Neighbourhood(pooled + 2 * traces + 4, dim // 2, dropout)

    def forward(self, traces: Tensor) -> Tensor:
        """traces (B, E, h, w) float32 of the cells of whole images -> logits (B, h, w) that a cell holds AI pixels."""
        return self.both(traces)[1]

    def both(self, traces: Tensor) -> tuple[Tensor, Tensor]:
        """What the perceptron and what the convolutions say, (B, h, w) each."""
        windows = [_box_means(traces, size) for size in _WINDOWS]
        pooled = [*windows, traces.mean((2, 3), keepdim=True).expand_as(traces)]
        first = _by_rows(self.first, pooled)
        compared = _compared(windows[_MIDDLE], first.detach())
        second = _by_rows(self.second, [*pooled, *compared], reach=sum(_DILATIONS))
        return first[:, 0], second[:, 0]


def _perceptron(inputs: int, dim: int, dropout: float) -> nn.Sequential:
    """Cell by cell: (B, inputs, h, w) -> (B, 1, h, w)."""
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
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)


def _dilated(dim: int, dilation: int) -> nn.Sequential:
    around = nn.Conv2d(dim, dim, 3, padding=dilation, dilation=dilation, padding_mode="replicate")
    return nn.Sequential(nn.GELU(), around, nn.GELU(), nn.Conv2d(dim, dim, 1))


def _by_rows(module: nn.Module, channels: list[Tensor], reach: int = 0) -> Tensor:
    """`module` over channels (B, C_i, h, w), some rows at a time: all of a huge image would not fit in memory. reach:
    how many rows away the module looks."""
    height, strips = channels[0].shape[2], []
    for top in range(0, height, _ROWS):
        first, last = max(0, top - reach), min(height, top + _ROWS + reach)
        strip = module(torch.cat([part[:, :, first:last] for part in channels], dim=1))
        strips.append(strip[:, :, top - first : top - first + _ROWS])
    return torch.cat(strips, dim=2)


def _compared(traces: Tensor, logits: Tensor) -> list[Tensor]:
    """traces (B, E, h, w) and a first guess (B, 1, h, w) -> 2 E + 4 channels: nearness to found and rest, and the guess."""
    found = torch.sigmoid(logits)
    inside, outside = (_weighted_mean(traces, weights.square()) for weights in (found, 1 - found))
    nearer = (traces - outside).square() - (traces - inside).square()
    area = found.mean((2, 3), keepdim=True).expand_as(found)
    guess = [logits, area, _box_means(found, _WINDOWS[_MIDDLE]), nearer.mean(1, keepdim=True)]
    return [nearer, (inside - outside).expand_as(traces), *guess]


def _weighted_mean(x: Tensor, weights: Tensor) -> Tensor:
    """(B, E, h, w), (B, 1, h, w) -> (B, E, 1, 1)"""
    return (x * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp_min(1e-3)


def _box_means(x: Tensor, size: int) -> Tensor:
    """Means over boxes of size x size of (B, C, h, w), cut off at the border; one axis after the other is cheaper."""
    rows = F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), 1, (0, size // 2), count_include_pad=False)

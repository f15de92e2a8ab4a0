"""Matched filters: a few numbers that show how pixels were made, out of features that mostly depend on content."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LARGEST = 6.0  # of a feature, in standard deviations


class MatchedFilters(nn.Module):
    """Standardises features, clamps outliers, and filters. The lab fits all of it in closed form."""

    mean: Tensor
    spread: Tensor
    filters: Tensor
    offset: Tensor

    def __init__(self, features: int, filters: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("filters", torch.zeros(features, filters))
        self.register_buffer("offset", torch.zeros(filters))

    def filtered(self, features: Tensor) -> Tensor:
        """Filter features (..., F) float32, which are overwritten, into (..., E)."""
        return self.standardised(features) @ self.filters - self.offset

    def standardised(self, features: Tensor) -> Tensor:
        """Express features (..., F) float32, which are overwritten, in standard deviations within +-6."""
        return features.sub_(self.mean).div_(self.spread).clamp_(-LARGEST, LARGEST)


class TokenFilters(MatchedFilters):
    """The tokens of a cell after several blocks -> a few numbers.

    Tokens vary with what a picture shows, far more than with how it was made; the filters look in directions in which
    content hardly varies.
    """

    def forward(self, blocks: Sequence[Tensor]) -> Tensor:
        """Filter the patch tokens that T blocks give, one after the other.

        Side by side, as `filtered` takes them, they are many times what the caches of a processor hold.

        Args:
            blocks: T times (B, N, C) float32, N = h * w and h = w.

        Returns:
            (B, h, w, E) float32.
        """
        numbers = -self.offset
        parts = zip(*(part.chunk(len(blocks)) for part in (self.mean, self.spread, self.filters)), strict=True)
        for tokens, (mean, spread, filters) in zip(blocks, parts, strict=True):
            numbers = numbers + (tokens - mean).div_(spread).clamp_(-LARGEST, LARGEST) @ filters
        return _on_grid(numbers)


def cells_of(blocks: Sequence[Tensor]) -> Tensor:
    """Put the patch tokens that T blocks give, (B, N, C) each, side by side on their grid: (B, h, w, T * C)."""
    return _on_grid(torch.cat(list(blocks), dim=2))


def _on_grid(values: Tensor) -> Tensor:
    """Reshape (B, N, E) to (B, h, w, E)."""
    side = math.isqrt(int(values.shape[1]))
    return values.unflatten(1, (side, side))

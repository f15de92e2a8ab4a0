"""Matched filters: linear filters that isolate traces of synthesis in features dominated by content."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LARGEST = 6.0  # magnitude at which features are clipped, in standard deviations


class MatchedFilters(nn.Module):
    """Standardises features, clamps outliers, and filters; all parameters are fitted in closed form by the lab."""

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


def standardise(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Express features (..., F) in standard deviations within +-6, float32."""
    return ((features.float() - mean) / deviation).clamp(-LARGEST, LARGEST)


class TokenFilters(MatchedFilters):
    """Tokens of a cell after several blocks -> E numbers.

    Tokens depend on content far more than on synthesis; the filters use directions in which content hardly varies.
    """

    def forward(self, blocks: Sequence[Tensor]) -> Tensor:
        """Filter the patch tokens of T blocks, one block after the other.

        Joined, as `filtered` expects them, they would exceed the caches of a processor many times.

        Args:
            blocks: T tensors (B, N, C) float32, N = h * w and h = w.

        Returns:
            (B, h, w, E) float32.
        """
        numbers = -self.offset
        parts = zip(*(part.chunk(len(blocks)) for part in (self.mean, self.spread, self.filters)), strict=True)
        for tokens, (mean, spread, filters) in zip(blocks, parts, strict=True):
            numbers = numbers + (tokens - mean).div_(spread).clamp_(-LARGEST, LARGEST) @ filters
        side = math.isqrt(int(numbers.shape[1]))
        return numbers.unflatten(1, (side, side))

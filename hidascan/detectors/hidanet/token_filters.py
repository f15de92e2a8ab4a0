"""Matched filters on frozen patch tokens: how a cell was made, where its token mostly tells what it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_LARGEST = 6.0  # of a feature, in standard deviations


class TokenFilters(nn.Module):
    """The tokens of a cell after several blocks -> a few numbers.

    Tokens vary with what a picture shows, far more than with how it was made; the filters, fitted in closed form by
    the lab, look in directions in which content hardly varies.
    """

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

    def forward(self, tokens: Tensor) -> Tensor:
        """Filter patch tokens (B, T, N, C) of T blocks into (B, h, w, E) float32, N = h * w and h = w."""
        return self.filtered(cells_of(tokens))

    def filtered(self, cells: Tensor) -> Tensor:
        """Filter the tokens of cells (..., T * C) into (..., E) float32."""
        return self.clamped(cells) @ self.filters - self.offset

    def clamped(self, cells: Tensor) -> Tensor:
        """Express the tokens of cells (..., T * C) in standard deviations within +-6."""
        return ((cells.float() - self.mean) / self.spread).clamp(-_LARGEST, _LARGEST)


def cells_of(tokens: Tensor) -> Tensor:
    """Put patch tokens (B, T, N, C) of T blocks side by side on their grid: (B, h, w, T * C)."""
    side = math.isqrt(int(tokens.shape[2]))
    return tokens.transpose(1, 2).flatten(2).unflatten(1, (side, side))

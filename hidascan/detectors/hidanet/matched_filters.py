"""Matched filters: a few numbers in which it shows how pixels were made, out of features that mostly tell content."""

from __future__ import annotations

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

"""The heads of the whole image: the verdict and the JPEG quality (QFE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """logit = MLP(concat(f_global, f_detail)); above 0 leans to AI."""

    def __init__(self, dim: int, dropout: float = 0.0):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, f_global: Tensor, f_detail: Tensor) -> Tensor:
        """Classify images by both vectors, (B, D) each, into logits (B,)."""
        return self.mlp(torch.cat([f_global, f_detail], dim=-1)).squeeze(-1)


class QualityEstimator(nn.Module):
    """QFE: MLP(f_detail) -> JPEG quality in 1..100, where 100 stands for pixels without a trace of JPEG."""

    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1))

    def forward(self, f_detail: Tensor) -> Tensor:
        """Estimate the qualities (B,) in 1..100 of images with f_detail (B, D)."""
        return 1 + 99 * torch.sigmoid(self.mlp(f_detail).squeeze(-1))

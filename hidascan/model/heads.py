"""The three heads: the verdict (classifier), where (TFL) and how hard the pixels were compressed (QFE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """logit = MLP(concat(f_global, f_detail)); over 0 leans to AI."""

    def __init__(self, dim: int, dropout: float = 0.0):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 1))

    def forward(self, f_global: Tensor, f_detail: Tensor) -> Tensor:
        """(B, D), (B, D) -> (B,)"""
        return self.mlp(torch.cat([f_global, f_detail], dim=-1)).squeeze(-1)


class TokenLocaliser(nn.Module):
    """TFL: one linear layer shared by all refined patch tokens -> logit that the token's cell holds AI pixels."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Patch tokens (..., N, D) -> logits (..., N)"""
        return self.linear(tokens).squeeze(-1)


class QualityEstimator(nn.Module):
    """QFE: MLP(f_detail) -> JPEG quality in 1..100, where 100 stands for pixels without a trace of JPEG."""

    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1))

    def forward(self, f_detail: Tensor) -> Tensor:
        """(B, D) -> (B,), 1..100"""
        return 1 + 99 * torch.sigmoid(self.mlp(f_detail).squeeze(-1))

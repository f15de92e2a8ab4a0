"""The few trainable layers over the frozen tokens of one view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.vit import Block


class TapNorm(nn.Module):
    """Fixed standardisation of frozen tokens: per tap and channel, [CLS] and patch tokens apart, clamped.

    The statistics are measured once on training views (`measure`) and kept in the checkpoint. The clamp tames the
    few giant channels of ViTs, and makes the result fit into int8 (`QUANTUM` a step) for the feature cache.
    """

    LIMIT = 6.0
    QUANTUM = LIMIT / 127
    mean: Tensor
    std: Tensor

    def __init__(self, taps: int, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(taps, 2, dim))
        self.register_buffer("std", torch.ones(taps, 2, dim))

    def measure(self, tokens: Tensor) -> None:
        """Set the statistics from tokens (B, T, 1 + N, C)."""
        tokens = tokens.float()
        for kind, part in enumerate((tokens[:, :, :1], tokens[:, :, 1:])):
            self.mean[:, kind] = part.mean(dim=(0, 2))
            self.std[:, kind] = part.std(dim=(0, 2)).clamp_min(1e-4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Standardise tokens (B, T, 1 + N, C) into -LIMIT..LIMIT."""
        scale, shift = 1 / self.std, -self.mean / self.std
        parts = [
            torch.addcmul(shift[:, kind, None], tokens[:, :, part], scale[:, kind, None])
            for kind, part in enumerate((slice(0, 1), slice(1, None)))
        ]
        return torch.cat(parts, dim=2).clamp_(-self.LIMIT, self.LIMIT)


class Refiner(nn.Module):
    """Fuses the taps of each token and lets the tokens of one view exchange what they saw.

    The same layers serve patches and thumbnails; a learnt vector tells the two apart.
    """

    def __init__(self, taps: int, backbone_dim: int, dim: int, depth: int, heads: int, drop_path: float = 0.0):
        super().__init__()
        self.fuse = nn.Linear(taps * backbone_dim, dim)
        self.is_global = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 3, drop_path=drop_path) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, is_thumbnail: Tensor) -> Tensor:
        """Refine standardised tokens (B, T, 1 + N, C), is_thumbnail (B,) bool, into (B, 1 + N, D)."""
        x = self.fuse(tokens.transpose(1, 2).flatten(2))  # (B, 1 + N, T * C) -> (B, 1 + N, D)
        x = x + is_thumbnail[:, None, None].to(x.dtype) * self.is_global
        return self.norm(self.blocks(x))

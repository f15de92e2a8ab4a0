"""Operations and layers that several detectors share; changing one changes the results of all their weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def npr(x: Tensor) -> Tensor:
    """Compute x - up(down(x)) by nearest neighbour, (B, C, H, W) with even sides in and out."""
    return x - down_and_up(x, 0.5)


def down_and_up(x: Tensor, scale: float) -> Tensor:
    """Shrink (B, C, H, W) to a share of its sides and enlarge it again, both by nearest neighbour."""
    return F.interpolate(F.interpolate(x, scale_factor=scale, mode="nearest"), size=x.shape[2:], mode="nearest")


class SpatialAttention(nn.Module):
    """Spatial attention: weights of positions by a 7x7 convolution on mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the positions of (B, C, H, W)."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))

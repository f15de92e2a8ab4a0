"""Channel and spatial attention of CBAM ("Convolutional Block Attention Module", ECCV 2018), for feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_REDUCTION = 16  # of the MLP of channel attention


class ChannelAttention(nn.Module):
    """Channel attention: weights sigmoid(MLP(mean)) + sigmoid(MLP(max)), with a shared MLP."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // _REDUCTION)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, channels, bias=False)
        )

    def gate(self, mean: Tensor, largest: Tensor) -> Tensor:
        """Return weights (B, C), 0..2, of channels, given their means and maxima (B, C)."""
        return torch.sigmoid(self.mlp(mean)) + torch.sigmoid(self.mlp(largest))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Weigh the channels of (B, C, H, W), by `gate` (B, C) if given."""
        if gate is None:
            gate = self.gate(x.mean((2, 3)), x.amax((2, 3)))
        return x * gate[:, :, None, None].to(x.dtype)


class SpatialAttention(nn.Module):
    """Spatial attention: weights of positions by a 7x7 convolution on mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the positions of (B, C, H, W)."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(seen))

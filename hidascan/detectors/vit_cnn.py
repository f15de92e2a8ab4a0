"""A frozen ViT and a small CNN, for content and low-level traces.

A model of the Tiny-GenImage report (CVLabWorks/CVIMGDetection @ e4cb578): convolutions 3 -> 32 -> 64 with BatchNorm and
ReLU, then 1x1 to the width of the [CLS] token, mean over positions; alpha * CLS + beta * CNN with two trainable
scalars; the MLP of `vit`. Differences: those of `vit`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidascan.detectors.vit import ViT, ViTConfig


class ViTCNN(ViT):
    """A frozen ViT, a CNN and an MLP."""

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        self.cnn = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
            nn.Conv2d(64, self.backbone.dim, 1),
        )
        self.shares = nn.Parameter(torch.ones(2))  # alpha of the ViT, beta of the CNN

    def features(self, views: Tensor) -> Tensor:
        """Return alpha * CLS + beta * CNN of views (B, 3, S, S) uint8: (B, C)."""
        pixels = self.backbone.standard(views)
        # The 1x1 convolution is linear, so it can follow the mean: equal results at a hundredth of the cost.
        seen = self.cnn[-1](self.cnn[:-1](pixels).mean((2, 3), keepdim=True)).flatten(1)
        return self.shares[0] * super().features(views) + self.shares[1] * seen.float()

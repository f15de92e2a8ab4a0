"""A frozen ViT with a small MLP on its [CLS] token; and the same with a small CNN beside it, for low-level traces.

The simplest models of the Tiny-GenImage report (CVLabWorks/CVIMGDetection @ e4cb578): [CLS] -> 512 -> 256 -> 2, with
BatchNorm (not affine), GELU and dropout; the image is resized to 224x224 pixels. The CNN is convolutions 3 -> 32 -> 64
with BatchNorm and ReLU, then 1x1 to the width of the [CLS] token, mean over positions; the MLP classifies
alpha * CLS + beta * CNN, with two trainable scalars.

Differences: the frozen ViT is by default that of CLIP, not of ImageNet; our thumbnail shrinks by area averaging.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Detector, DetectorConfig, Encoded, Positions
from hidascan.geometry import ViewPlan


@dataclass(frozen=True)
class ViTConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    tap: int = 12  # the block whose [CLS] token is read
    side: int = 224  # pixels
    dropout: float = 0.3


class ViT(Detector):
    """A frozen ViT and an MLP."""

    Config = ViTConfig
    frozen_encoder = True

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        self.backbone = FrozenViT(config.backbone, (config.tap,), config.side)
        self.head = MLPHead(self.backbone.dim, config.dropout)

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return the logit of each view (B, 3, S, S) uint8."""
        return self.encode_trained(self.encode_frozen(views, where))

    def encode_frozen(self, views: Tensor, where: Positions) -> Encoded:
        """Return "cls" (B, C): the [CLS] token of each view."""
        return {"cls": self.backbone.cls(views)[:, 0]}

    def encode_trained(self, rows: Encoded) -> Encoded:
        """Return "logit" (B,) of each view."""
        return {"logit": self.head(self.features(rows)).float()}

    def features(self, rows: Encoded) -> Tensor:
        """Return the MLP's input features (B, C)."""
        return rows["cls"]


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

    def encode_frozen(self, views: Tensor, where: Positions) -> Encoded:
        """Return "cls" (B, C), and "pixels" (B, 3, S, S) uint8: the views themselves."""
        return super().encode_frozen(views, where) | {"pixels": views}

    def features(self, rows: Encoded) -> Tensor:
        """Return alpha * CLS + beta * CNN (B, C)."""
        pixels = self.backbone.standardise(rows["pixels"])
        # The 1x1 convolution is linear, so it can follow the mean: equal results at a hundredth of the cost.
        seen = self.cnn[-1](self.cnn[:-1](pixels).mean((2, 3), keepdim=True)).flatten(1)
        return self.shares[0] * rows["cls"] + self.shares[1] * seen.float()


class MLPHead(nn.Module):
    """Features (B, C) -> logits (B,): logit of AI minus logit of real."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        sizes = (dim, 512, 256)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            norm = nn.BatchNorm1d(outputs, affine=False)
            layers += [nn.Linear(inputs, outputs), norm, nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))

    def forward(self, features: Tensor) -> Tensor:
        """Classify features."""
        two: Tensor = self.layers(features)
        return two[:, 1] - two[:, 0]

"""A frozen ViT with a small MLP on its [CLS] token.

The simplest model of the Tiny-GenImage report (CVLabWorks/CVIMGDetection @ e4cb578): [CLS] -> 512 -> 256 -> 2, with
BatchNorm (not affine), GELU and dropout; the image is resized to 224x224 pixels.

Differences: the frozen ViT is by default that of CLIP, not of ImageNet; our thumbnail shrinks by area averaging.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor, nn

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, Positions
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

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        self.backbone = FrozenViT(config.backbone, (config.tap,), config.side)
        self.head = MLPHead(self.backbone.dim, config.dropout)

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return the logit of each view."""
        return {"logit": self.head(self.features(views)).float()}

    def features(self, views: Tensor) -> Tensor:
        """Return the MLP's input features (B, C) of views (B, 3, S, S) uint8."""
        return self.backbone.cls(views)[:, 0]

    def decide(self, encoded: Encoded) -> Decision:
        """Return the logit of the only view."""
        return Decision(encoded["logit"][0])


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

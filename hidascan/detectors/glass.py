"""GLASS: a resized global view and a few native crops, weighed by attention.

"Attention to Detail: Global-Local Attention for High-Resolution AI-Generated Image Detection" (2026), after its public
code (lawrencehen5/Attention-To-Detail @ 508d33f).

A resized global view and a stratified sample of native crops. Crops are scored by attention: Linear(D, 128), tanh,
dropout, Linear(128, 1), softmax over crops, weighted sum; [global ; local] -> LayerNorm -> dropout -> Linear.

Departures: one frozen CLIP for both kinds of view in place of two trained backbones, read by its [CLS] token after
chosen blocks; crops are drawn from the edge-aligned grid, one from each of about as many rectangles as there are
crops, and are always the same; an image with fewer patches than that is covered by all that it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, Positions
from hidascan.geometry import ViewPlan


@dataclass(frozen=True)
class GlassConfig(DetectorConfig):
    """What a checkpoint must say to build its network."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = (6, 8, 10, 12)  # blocks whose [CLS] tokens are read side by side
    side: int = 224  # of crops and thumbnail, pixels
    crops: int = 10
    scorer_dim: int = 128
    dropout: float = 0.5


class Glass(Detector):
    """GLASS on a frozen backbone."""

    mean: Tensor
    std: Tensor
    frozen_encoder = True
    Config = GlassConfig

    def __init__(self, config: GlassConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=config.crops)
        self.backbone = FrozenViT(config.backbone, config.taps, config.side)
        dim = self.backbone.dim * len(config.taps)
        self.register_buffer("mean", torch.zeros(dim))  # of frozen tokens, whose channels differ widely in size
        self.register_buffer("std", torch.ones(dim))
        self.scorer = nn.Sequential(
            nn.Linear(dim, config.scorer_dim), nn.Tanh(), nn.Dropout(config.dropout), nn.Linear(config.scorer_dim, 1)
        )
        self.classifier = nn.Sequential(nn.LayerNorm(2 * dim), nn.Dropout(config.dropout), nn.Linear(2 * dim, 1))

    @torch.no_grad()
    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return "cls" (B, T * C): frozen [CLS] tokens of all taps."""
        return {"cls": self.backbone(views)[:, :, 0].flatten(1)}

    def measure(self, encoded: Encoded) -> None:
        """Measure mean and standard deviation of the frozen tokens."""
        self.mean, self.std = encoded["cls"].mean(0), encoded["cls"].std(0).clamp_min(1e-4)

    def decide(self, encoded: Encoded) -> Decision:
        """Weigh the crops of an image, its thumbnail first, and classify both paths."""
        standard = ((encoded["cls"] - self.mean) / self.std).clamp(-6, 6)
        crops = standard[1:]
        weights = torch.softmax(self.scorer(crops), dim=0)  # (crops, 1)
        both = torch.cat([standard[0], (weights * crops).sum(0)])  # without crops, their sum is 0
        return Decision(self.classifier(both)[0])

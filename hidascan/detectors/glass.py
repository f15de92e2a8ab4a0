"""GLASS: a resized global view and a few native crops, weighed by attention.

"Attention to Detail: Global-Local Attention for High-Resolution AI-Generated Image Detection" (2026), after its public
code (lawrencehen5/Attention-To-Detail @ 508d33f).

The views are the resized image and a stratified sample of native crops. Attention over crops: Linear(D, 128), tanh,
dropout, Linear(128, 1), softmax, weighted sum. Head: [global ; local] -> LayerNorm -> dropout -> Linear.

The backbone is a frozen ViT, read by its [CLS] token after selected blocks, or a trained CNN: ResNet-50, ConvNeXt-Tiny
or another of timm, separate or shared for both kinds of view.

Differences: the ViT is frozen and shared by both kinds of view; crops are a fixed sample of the edge-aligned grid, one
from each of its rows x columns rectangles, so often fewer than asked for: 9 of 10 and 6 of 8 at 1024x768.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT, build_timm_cnn, is_cnn, standardisation_of
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, EncodeViews, Positions, under_autocast
from hidascan.geometry import ViewPlan

_MAX_FEATURE = 6.0  # of a standardised feature, in standard deviations


@dataclass(frozen=True)
class GlassConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token, ResNet or ConvNeXt
    taps: tuple[int, ...] = (6, 8, 10, 12)  # blocks of a ViT whose [CLS] tokens are read side by side
    side: int = 224  # side of crops and thumbnail, pixels
    crops: int = 10
    shared: bool = False  # one CNN for both kinds of view
    scorer_dim: int = 128
    dropout: float = 0.5


class Glass(Detector):
    """GLASS on a frozen ViT, or on CNNs."""

    mean: Tensor
    std: Tensor
    Config = GlassConfig

    def __init__(self, config: GlassConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=config.crops)
        self.frozen_encoder = not is_cnn(config.backbone)
        if self.frozen_encoder:
            self.backbone = FrozenViT(config.backbone, config.taps, config.side)
            dim = self.backbone.dim * len(config.taps)
        else:
            self.whole_encoder, dim = build_timm_cnn(config.backbone)
            self.crop_encoder: Any = None if config.shared else build_timm_cnn(config.backbone)[0]
        self.register_buffer("mean", torch.zeros(dim))  # of frozen tokens, whose channels have very different scales
        self.register_buffer("std", torch.ones(dim))
        self.scorer = nn.Sequential(
            nn.Linear(dim, config.scorer_dim), nn.Tanh(), nn.Dropout(config.dropout), nn.Linear(config.scorer_dim, 1)
        )
        self.classifier = nn.Sequential(nn.LayerNorm(2 * dim), nn.Dropout(config.dropout), nn.Linear(2 * dim, 1))

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return "cls" (B, D): the backbone's features of each view."""
        if self.frozen_encoder:
            return {"cls": self.backbone.cls(views).flatten(1)}
        mean, std = (numbers.to(views.device) for numbers in standardisation_of(self.whole_encoder))
        x = (views.float() / 255 - mean) / std
        if self.crop_encoder is None:
            return {"cls": self.whole_encoder(x).float()}
        seen = x.new_empty(len(x), len(self.mean))
        for kind, encoder in ((where.is_thumbnail, self.whole_encoder), (~where.is_thumbnail, self.crop_encoder)):
            if kind.any():
                seen[kind] = encoder(x[kind]).float()
        return {"cls": seen}

    def fit_standardisation(self, encoded: Encoded) -> None:
        """Fit mean and standard deviation of the frozen tokens."""
        cls = encoded["cls"].float()
        self.mean, self.std = (part.to(self.mean) for part in (cls.mean(0), cls.std(0).clamp_min(1e-4)))

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Run CNNs under autocast unless `dtype` is float32."""
        encode = super().prepare_inference(device, dtype)
        return encode if self.frozen_encoder else under_autocast(encode, device, dtype)

    def decide(self, encoded: Encoded) -> Decision:
        """Weigh the crops of an image, and classify global and local features; the thumbnail comes first."""
        standard = ((encoded["cls"] - self.mean) / self.std).clamp(-_MAX_FEATURE, _MAX_FEATURE)
        crops = standard[1:]
        weights = torch.softmax(self.scorer(crops), dim=0)  # (crops, 1)
        both = torch.cat([standard[0], (weights * crops).sum(0)])  # the sum over no crops is 0
        return Decision(self.classifier(both)[0])

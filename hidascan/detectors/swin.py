"""Swin Transformer, by timm.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (ICCV 2021).

One view: the whole image, resized to a square. The logit is a linear layer on the mean of the last tokens, as in the
Tiny-GenImage report. Difference: our thumbnail shrinks by area averaging.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from hidascan.detectors.backbones import check_timm_name, create_model
from hidascan.detectors.base import DetectorConfig, SingleView
from hidascan.errors import CheckpointError
from hidascan.geometry import ViewPlan


@dataclass(frozen=True)
class SwinConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    model: str = "swin_tiny_patch4_window7_224"  # timm's name
    side: int = 224  # pixels


class Swin(SingleView):
    """Swin-Tiny, 28 M parameters, or another Swin of timm."""

    Config = SwinConfig

    def __init__(self, config: SwinConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        check_timm_name(config.model)
        if not config.model.startswith("swin_"):
            raise CheckpointError(f"{config.model[:40]!r} is not a timm Swin")
        network = create_model(config.model, outputs=1, img_size=config.side)
        self.network = nn.Sequential(OrderedDict(network=network, logit=nn.Flatten(0)))  # (B, 1) -> (B,)

"""PPL: panoptic patch learning, a ViT with low-rank adapters, trained to use all of its patches.

"All Patches Matter, More Patches Better: Enhance AI-Generated Image Detection via Panoptic Patch Learning" (2025),
without public code. CLIP with LoRA; training replaces cells of a reconstruction by those of its photo (RPR) and
separates the patch tokens of both classes (PCL). The view is the centre crop of an image; here there may be several.

Differences: ViT-B/16 by default; PCL is a squared hinge on the distance, added to L_cls with a weight; rank 8 on the
attention of the last blocks and a linear layer on the normalised [CLS] token are our choice, as the paper's numbers
are in an unavailable appendix; the logits of several crops, evenly spread over the image, are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Detector, DetectorConfig, Encoded, EncodeViews, Positions
from hidascan.geometry import ViewPlan

_ADAPTED = ("qkv", "proj")  # linear layers of a block's attention
_ADAPTER_SCALE = 2.0  # factor on the output of an adapter


@dataclass(frozen=True)
class PPLConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token, such as DINOv2's
    tap: int = 12  # the block whose tokens are read
    adapted_depth: int = 4  # number of blocks with adapters, up to the tap
    rank: int = 8
    side: int = 224  # pixels
    crops: int = 1  # maximum number of patches examined; 1: the centre crop


class PPL(Detector):
    """A ViT with LoRA."""

    Config = PPLConfig
    frozen_encoder = True
    has_patch_tokens = True

    def __init__(self, config: PPLConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, thumbnail=False, patches="centre" if config.crops == 1 else config.crops)
        self.backbone = FrozenViT(config.backbone, (config.tap,), config.side)
        self.adapted = min(config.adapted_depth, config.tap)
        width = self.backbone.dim
        sizes = {"qkv": 3 * width, "proj": width}
        self.adapters = nn.ModuleList(
            Adapter(width, sizes[name], config.rank) for _ in range(self.adapted) for name in _ADAPTED
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)
        self.merged = False

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return the logit of each view."""
        return {"logit": self.encode_trained(self.encode_frozen(views, where))["logit"]}

    def encode_frozen(self, views: Tensor, where: Positions) -> Encoded:
        """Compute the blocks before the adapted ones."""
        return {"tokens": self.backbone.first_blocks(views, self.adapted)}

    def encode_trained(self, rows: Encoded) -> Encoded:
        """Return "logit" (B,) and "patch_tokens" (B, N, C): normalised patch tokens, for PCL."""
        with attached(() if self.merged else self._pairs()):
            tokens = self.norm(self.backbone.last_blocks(rows["tokens"], self.adapted))
        return {"logit": self.head(tokens[:, 0])[:, 0].float(), "patch_tokens": tokens[:, 1:].float()}

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Merge the adapters into the matrices of the backbone, so that they cost nothing."""
        if not self.merged:
            for linear, adapter in self._pairs():
                merge(linear, adapter)
            self.merged = True
        return super().prepare_inference(device, dtype)

    def _pairs(self) -> Iterator[tuple[nn.Linear, Adapter]]:
        """Yield the adapted layers of the backbone, each with its adapter."""
        each = iter(self.adapters)
        for block in list(self.backbone.vit.blocks)[-self.adapted :]:
            for name in _ADAPTED:
                yield getattr(block.attn, name), cast(Adapter, next(each))


class Adapter(nn.Module):
    """Low-rank adapter (LoRA, ICLR 2022): adds 2 B A x to the output of a linear layer; B is initially zero."""

    def __init__(self, inputs: int, outputs: int, rank: int):
        super().__init__()
        self.down = nn.Parameter(nn.init.normal_(torch.empty(rank, inputs), std=1 / math.sqrt(inputs)))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to the term added to the output, (..., outputs)."""
        return F.linear(F.linear(x, self.down.to(x.dtype)), _ADAPTER_SCALE * self.up.to(x.dtype))


@torch.no_grad()
def merge(linear: nn.Linear, adapter: Adapter) -> None:
    """Add an adapter to the matrix of its layer, in the precision of the matrix."""
    added = linear.weight.float() + _ADAPTER_SCALE * adapter.up.float() @ adapter.down.float()
    linear.weight.data = added.to(linear.weight.dtype)


@contextmanager
def attached(pairs: Iterable[tuple[nn.Linear, Adapter]]) -> Iterator[None]:
    """Attach adapters to their layers within a context."""

    def adding(adapter: Adapter) -> Any:
        return lambda layer, inputs, output: output + adapter(inputs[0])

    hooks = [linear.register_forward_hook(adding(adapter)) for linear, adapter in pairs]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

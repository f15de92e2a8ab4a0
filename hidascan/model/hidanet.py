"""HiDA-Net, top to bottom: views -> tokens -> refined tokens -> f_global, f_detail -> logit, quality; traces -> map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hidascan.model.aggregator import LocalAggregator
from hidascan.model.backbone import FrozenViT
from hidascan.model.detail import CELL
from hidascan.model.heads import Classifier, LinearEvidence, QualityEstimator
from hidascan.model.localiser import TokenLocaliser
from hidascan.model.packed import pack_linears
from hidascan.model.refiner import Refiner, TapNorm


@dataclass(frozen=True)
class NetworkConfig:
    """What a checkpoint must say to build its network."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = (4, 6, 8, 10, 12)  # blocks whose tokens are used, counted from 1
    patch: int = 224  # side of patches and thumbnail, pixels
    dim: int = 256  # width of refiner, FAM and heads
    refiner_depth: int = 2
    aggregator_depth: int = 2
    heads: int = 4
    traces: int = 24  # filters of the detail path: numbers a cell
    detail_dim: int = 64  # width of TFL
    dropout: float = 0.1  # in FAM and classifier; in the refiner, of whole blocks (drop path)


class ViewOutputs(NamedTuple):
    """Of each of B views, float32: refined [CLS] (B, D), evidence (B,), traces of its cells (B, 14, 14, E)."""

    cls: Tensor
    evidence: Tensor
    traces: Tensor


class HiDANet(nn.Module):
    """The whole network. `backbone` is frozen; all else is the trained part (`head`).

    A scan calls `views` on full batches of views from many images, then `fuse` and `locate` once an image, so that the
    result for an image does not depend on which images share its batches.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.backbone = FrozenViT(config.backbone, config.taps, config.patch)
        self.head = TrainedHead(config, self.backbone.dim)
        self.cells = config.patch // CELL  # along a side of a view

    def pack(self) -> None:
        """Make the layers that see every token ready for a CPU: no training, saving or moving after that."""
        pack_linears(self.backbone)
        pack_linears(self.head.refiner)

    @torch.no_grad()
    def views(self, views: Tensor, is_global: Tensor, corners: Tensor) -> ViewOutputs:
        """views (B, 3, 224, 224) uint8, is_global (B,) bool, corners (B, 2) where each starts in its image, pixels
        -> what each view gives by itself. A thumbnail has no traces: zeros."""
        standard = self.head.tap_norm(self.backbone(views))
        refined = self.head.refiner(standard.to(self.head.refiner.is_global.dtype), is_global)
        evidence = self.head.evidence(standard[:, :, 0], is_global)
        return ViewOutputs(refined[:, 0].float(), evidence, self.traces(views, is_global, corners))

    @torch.no_grad()
    def traces(self, views: Tensor, is_global: Tensor, corners: Tensor) -> Tensor:
        """The detail path of `views`: (B, 14, 14, E) float32."""
        traces = torch.zeros(len(views), self.cells, self.cells, self.config.traces, device=views.device)
        if not is_global.all():
            traces[~is_global] = self.head.localiser.stem(views[~is_global], corners[~is_global])
        return traces

    @torch.no_grad()
    def fuse(self, cls: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """One image, its thumbnail first: cls (1 + K, D), evidence (1 + K,) -> logit (), quality () in 1..100."""
        logit, quality = self.head.fuse(cls[:1], cls[None, 1:])
        return logit[0] + sum(self.head.evidence.pool(evidence)), quality[0]

    @torch.no_grad()
    def effects(self, cls: Tensor, evidence: Tensor, logit: Tensor) -> Tensor:
        """Total direct effect of each patch ("All Patches Matter"): the logit of one image with all patches minus that
        with its token and evidence left out. Arguments and logit as of `fuse` -> (K,). K passes of FAM."""
        numbers = torch.arange(len(cls), device=cls.device)
        rest = (numbers != patch for patch in numbers[1:])
        return torch.stack([logit - self.fuse(cls[kept], evidence[kept])[0] for kept in rest])

    @torch.no_grad()
    def locate(self, traces: Tensor) -> Tensor:
        """traces (h, w, E) of the cells of one image -> p(AI) of each (h, w), float32."""
        return torch.sigmoid(self.head.localiser(traces.permute(2, 0, 1)[None])[0])


class TrainedHead(nn.Module):
    """All that is trained: refiner, FAM, classifier, TFL, QFE; and the measured statistics of the frozen tokens."""

    def __init__(self, config: NetworkConfig, backbone_dim: int):
        super().__init__()
        taps, dim, dropout = len(config.taps), config.dim, config.dropout
        self.tap_norm = TapNorm(taps, backbone_dim)
        self.refiner = Refiner(taps, backbone_dim, dim, config.refiner_depth, config.heads, dropout)
        self.aggregator = LocalAggregator(dim, config.aggregator_depth, config.heads, dropout)
        self.classifier = Classifier(dim, dropout)
        self.evidence = LinearEvidence(taps, backbone_dim)
        self.quality = QualityEstimator(dim)
        self.localiser = TokenLocaliser(config.traces, config.detail_dim, dropout)

    def fuse(self, f_global: Tensor, patch_cls: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f_global (B, D), patch_cls (B, K, D), padding (B, K) bool -> logits (B,) without evidence, qualities (B,) in 1..100."""
        f_detail = self.aggregator(patch_cls, padding)
        return self.classifier(f_global, f_detail), self.quality(f_detail)

"""HiDA-Net, top to bottom: views -> tokens -> refined tokens -> f_global, f_detail -> logit, quality; residuals -> map.

Departures from the paper, measured in `experiments/`: several taps of the backbone instead of its last block; a linear
probe beside the classifier; TFL on pixel residuals instead of refined tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, EncodeViews, Positions
from hidascan.detectors.hidanet.aggregator import LocalAggregator
from hidascan.detectors.hidanet.heads import Classifier, QualityEstimator
from hidascan.detectors.hidanet.linear_probe import LinearProbe
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.detectors.hidanet.refiner import Refiner, TapNorm
from hidascan.detectors.hidanet.residuals import ResidualFilters
from hidascan.detectors.hidanet.version_1 import new_header, new_name
from hidascan.geometry import CELL, PatchGrid, ViewPlan, cell_map


@dataclass(frozen=True)
class HiDANetConfig(DetectorConfig):
    """What a checkpoint must say to build its network."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = (4, 6, 8, 10, 12)  # blocks whose tokens are used, counted from 1
    side: int = 224  # of patches and thumbnail, pixels
    dim: int = 256  # width of refiner, FAM and heads
    refiner_depth: int = 2
    aggregator_depth: int = 2
    heads: int = 4
    residual_filters: int = 24  # numbers a cell that TFL sees
    localiser_dim: int = 64  # width of TFL
    dropout: float = 0.1  # in FAM and classifier; in the refiner, of whole blocks (drop path)


class Fused(NamedTuple):
    """Of B images: logits (B,) without the linear probe, and JPEG qualities (B,) in 1..100."""

    logits: Tensor
    qualities: Tensor


class HiDANet(Detector):
    """The whole network: a frozen backbone, the fusion head, and TFL with the residuals that it reads."""

    Config = HiDANetConfig
    has_heatmap = True
    backends = ("torch", "openvino")

    def __init__(self, config: HiDANetConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side)
        self.backbone = FrozenViT(config.backbone, config.taps, config.side)
        self.head = FusionHead(config, self.backbone.dim)
        self.residuals = ResidualFilters(config.residual_filters)
        self.localiser = CellLocaliser(config.residual_filters, config.localiser_dim, config.dropout)

    @torch.no_grad()
    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Encode views by both paths.

        Returns:
            "cls" (B, D) refined [CLS] tokens; "probe" (B,) logits of the linear probe; "residuals" (B, 14, 14, E)
            filtered residuals of its cells, zeros for a thumbnail. All float32.
        """
        cls, probe = self.encode_tokens(views, where.is_thumbnail)
        return {"cls": cls, "probe": probe, **self.encode_for_map(views, where)}

    def encode_tokens(self, views: Tensor, is_thumbnail: Tensor) -> tuple[Tensor, Tensor]:
        """Encode views (B, 3, 224, 224) uint8 by the backbone's path: refined [CLS] (B, D), probe (B,), float32."""
        standard = self.head.tap_norm(self.backbone(views))
        refined = self.head.refine(standard, is_thumbnail)
        return refined[:, 0].float(), self.head.probe(standard[:, :, 0], is_thumbnail)

    @torch.no_grad()
    def encode_for_map(self, views: Tensor, where: Positions) -> Encoded:
        """Encode views by the pixels' path alone."""
        cells, patches = self.config.side // CELL, ~where.is_thumbnail
        residuals = torch.zeros(len(views), cells, cells, self.config.residual_filters, device=views.device)
        if patches.any():
            residuals[patches] = self.residuals(views[patches], where.corners[patches])
        return {"residuals": residuals}

    @torch.no_grad()
    def decide(self, encoded: Encoded) -> Decision:
        """Fuse the views of one image, its thumbnail first."""
        fused = self.head.fuse(encoded["cls"], [len(encoded["cls"])])
        return Decision(fused.logits[0] + self.head.probe.pool(encoded["probe"]), fused.qualities[0])

    @torch.no_grad()
    def locate(self, encoded: Encoded, grid: PatchGrid) -> Tensor:
        """Join the residuals of all patches, so that no region is cut at their borders, and localise (TFL)."""
        patches = encoded["residuals"][-len(grid) :]
        cells = torch.from_numpy(cell_map(patches.cpu().numpy(), grid)).to(patches.device)  # (h, w, E)
        return torch.sigmoid(self.localiser(cells.permute(2, 0, 1)[None])[0])

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the refiner, which sees every token, work in `dtype`, with the same weights whatever it is."""
        self.head.refiner.bfloat16().to(dtype)

    def runtime(self, backend: str, device: torch.device, dtype: torch.dtype, digest: str) -> EncodeViews:
        """Pack the layers that see every token, or let OpenVINO run them."""
        self.check_backend(backend, device)
        if backend == "openvino":
            from hidascan.detectors.hidanet.openvino import OpenVinoEncoder

            return OpenVinoEncoder(self, digest, dtype)
        if device.type == "cpu":
            pack_linears(self.head.refiner)
        return super().runtime(backend, device, dtype, digest)

    @classmethod
    def upgrade(cls, header: dict[str, Any]) -> dict[str, Any]:
        """Read the header of the first release."""
        return new_header(header)

    @classmethod
    def upgrade_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the first release."""
        return {new_name(name): tensor for name, tensor in tensors.items()}


class FusionHead(nn.Module):
    """What decides on an image: refiner, FAM, classifier, QFE, linear probe; and the statistics of frozen tokens.

    Scan, training, ablations and OpenVINO all go through `refine` and `fuse`.
    """

    def __init__(self, config: HiDANetConfig, backbone_dim: int):
        super().__init__()
        taps, dim, dropout = len(config.taps), config.dim, config.dropout
        self.tap_norm = TapNorm(taps, backbone_dim)
        self.refiner = Refiner(taps, backbone_dim, dim, config.refiner_depth, config.heads, dropout)
        self.aggregator = LocalAggregator(dim, config.aggregator_depth, config.heads, dropout)
        self.classifier = Classifier(dim, dropout)
        self.probe = LinearProbe(taps, backbone_dim)
        self.quality = QualityEstimator(dim)

    def refine(self, standard: Tensor, is_thumbnail: Tensor) -> Tensor:
        """Refine standardised tokens (V, T, 1 + N, C) of V views, is_thumbnail (V,) bool -> (V, 1 + N, D)."""
        return self.refiner(standard.to(self.refiner.is_global.dtype), is_thumbnail)

    def fuse(
        self, cls: Tensor, counts: list[int], visible: tuple[Tensor | float, Tensor | float] = (1.0, 1.0)
    ) -> Fused:
        """Fuse the views of B images: f_final = concat(f_global, f_detail) -> MLP -> logit.

        Args:
            cls: (V, D) refined [CLS] tokens, image by image, each with its thumbnail first.
            counts: Views of each image; their sum is V.
            visible: Factors for f_global and f_detail, numbers or (B, 1): training hides one of them at times.
        """
        starts = torch.tensor([0, *counts[:-1]]).cumsum(0).to(cls.device)
        is_patch = torch.ones(len(cls), dtype=torch.bool, device=cls.device)
        is_patch[starts] = False
        f_detail = self.aggregator(*_padded(cls[is_patch], [count - 1 for count in counts]))
        logits = self.classifier(cls[starts] * visible[0], f_detail * visible[1])
        return Fused(logits, self.quality(f_detail))


def _padded(cls: Tensor, counts: list[int]) -> tuple[Tensor, Tensor | None]:
    """Pad (sum K, D) to (B, max K, D), and mask (B, max K) where there is no patch; None if there is no padding."""
    if len(set(counts)) == 1:
        return cls.view(len(counts), counts[0], cls.shape[1]), None
    padded = nn.utils.rnn.pad_sequence(list(cls.split(counts)), batch_first=True)
    lengths = torch.tensor(counts, device=cls.device)
    return padded, torch.arange(padded.shape[1], device=cls.device)[None] >= lengths[:, None]

"""HiDA-Net, top to bottom: views -> tokens -> kernel probe, or refiner and FAM -> logit; residuals -> quality, map.

Departures from the paper, measured in `docs/decisions.md`: several taps of the backbone instead of its last block; a kernel
probe beside or instead of refiner, FAM and classifier; TFL on pixel residuals and filtered frozen tokens
instead of refined ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.backbones.packed import pack_linears
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, EncodeViews, Positions
from hidascan.detectors.hidanet.aggregator import LocalAggregator
from hidascan.detectors.hidanet.cell_map import cell_map
from hidascan.detectors.hidanet.heads import Classifier, QualityEstimator
from hidascan.detectors.hidanet.heatmap import HeatmapThresholds
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Summary
from hidascan.detectors.hidanet.localiser import CellLocaliser
from hidascan.detectors.hidanet.refiner import Refiner, TapNorm
from hidascan.detectors.hidanet.residuals import ResidualFilters, in_phase, residual_features
from hidascan.detectors.hidanet.token_filters import TokenFilters
from hidascan.geometry import CELL, PatchGrid, ViewPlan, patch_grid

_AT_A_TIME = 256  # summaries that the kernels are computed of
SURE = 0.5  # from here on a domain or a family is named


@dataclass(frozen=True)
class HiDANetConfig(DetectorConfig):
    """What a checkpoint must say to build its network.

    Raises:
        ValueError: Also if there is neither a fusion nor a kernel probe.
    """

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = (6, 8, 10, 12)  # blocks whose tokens decide, counted from 1
    cell_taps: tuple[int, ...] = ()  # blocks whose patch tokens TFL sees
    cell_filters: int = 9  # numbers a cell that are made of these, if there are any
    side: int = 224  # of patches and thumbnail, pixels
    fusion: bool = True  # refiner, FAM and classifier
    dim: int = 256  # width of these
    refiner_depth: int = 2
    aggregator_depth: int = 2
    heads: int = 4
    kernel: bool = False  # the kernel probe, and QFE on residual statistics
    components: int = 400  # of the [CLS] tokens that it sees
    residual_components: int = 300  # of the residual statistics
    landmarks: int = 3000
    residual_filters: int = 24  # numbers a cell that TFL sees
    localiser_dim: int = 64  # width of TFL
    dropout: float = 0.1  # in FAM and classifier; in the refiner, of whole blocks (drop path)

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        if not (self.fusion or self.kernel):
            raise ValueError("neither fusion nor kernel: nothing would decide")


class Fused(NamedTuple):
    """Of B images: logits (B,) without the kernel probe, and JPEG qualities (B,) in 1..100."""

    logits: Tensor
    qualities: Tensor


class HiDANet(Detector):
    """The whole network: a frozen backbone, what decides on its tokens, and TFL with the residuals that it reads."""

    Config = HiDANetConfig
    has_heatmap = True

    def __init__(self, config: HiDANetConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side)
        tapped = sorted({*config.taps, *config.cell_taps})
        self.backbone = FrozenViT(config.backbone, tuple(tapped), config.side)
        self._deciding = [tapped.index(tap) for tap in config.taps]
        self._locating = [tapped.index(tap) for tap in config.cell_taps]
        self._whole = tapped if config.fusion else config.cell_taps
        self.head = FusionHead(config, self.backbone.dim) if config.fusion else None
        self.probe: KernelProbe | None = None
        if config.kernel:
            width, residuals = len(config.taps) * self.backbone.dim, config.residual_components
            self.probe = KernelProbe(width, config.components, residuals, config.landmarks)
        self.residuals = ResidualFilters(config.residual_filters)
        self.token_filters, inputs = None, config.residual_filters
        if config.cell_taps:
            self.token_filters = TokenFilters(len(config.cell_taps) * self.backbone.dim, config.cell_filters)
            inputs += config.cell_filters
        self.localiser = CellLocaliser(inputs, config.localiser_dim, config.dropout)
        self.heatmap = HeatmapThresholds()

    @torch.no_grad()
    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Encode views by both paths.

        Returns:
            With a fusion, "cls" (B, D), refined [CLS] tokens. With a kernel probe, "tokens" (B, P) and "statistics"
            (B, R), what it sees of each. For the map "residuals" (B, 14, 14, E), filtered residuals of the cells, and
            perhaps "patch_tokens" (B, h, w, F), filtered tokens. Statistics and residuals are zeros for a thumbnail.
            All float32.
        """
        return {**self.encode_tokens(views, where.is_thumbnail), **self.encode_pixels(views, where)}

    def encode_tokens(self, views: Tensor, is_thumbnail: Tensor) -> Encoded:
        """Encode views (B, 3, 224, 224) uint8 by the backbone's path."""
        tapped, encoded = self.backbone.tapped(self.backbone.standard(views), self._whole), {}
        deciding = [tapped[place] for place in self._deciding]
        if self.head is not None:
            tokens = self.head.tap_norm(torch.stack(deciding, dim=1))
            encoded["cls"] = self.head.refine(tokens, is_thumbnail)[:, 0].float()
        if self.probe is not None:
            encoded["tokens"] = self.probe.tokens(torch.cat([tokens[:, 0] for tokens in deciding], dim=1))
        if self.token_filters is not None:
            encoded["patch_tokens"] = self.token_filters([tapped[place][:, 1:] for place in self._locating])
        return encoded

    @torch.no_grad()
    def encode_pixels(self, views: Tensor, where: Positions) -> Encoded:
        """Encode views by the pixels' path."""
        cells, patches = self.config.side // CELL, ~where.is_thumbnail
        encoded = {"residuals": views.new_zeros((len(views), cells, cells, self.config.residual_filters)).float()}
        if self.probe is not None:
            encoded["statistics"] = views.new_zeros((len(views), self.config.residual_components)).float()
        if patches.any():
            features = residual_features(in_phase(views[patches], where.corners[patches]))
            if self.probe is not None:
                encoded["statistics"][patches] = self.probe.residuals(features.mean((1, 2)))
            encoded["residuals"][patches] = self.residuals.filtered(features)
        return encoded

    @torch.no_grad()
    def decide(self, encoded: Encoded) -> Decision:
        """Decide by the views of one image, its thumbnail first."""
        logit, quality, domain, family = torch.zeros(()), None, None, None
        if self.head is not None:
            fused = self.head.fuse(encoded["cls"], [len(encoded["cls"])])
            logit, quality = fused.logits[0], fused.qualities[0]
        if self.probe is not None:
            said = self.probe(_summary(encoded)).on_cpu()
            logit, quality = logit.cpu() + said.logits[0], said.qualities[0]
            domain, family = _likeliest(DOMAINS, said.domains[0]), _likeliest(FAMILIES, said.families[0])
        return Decision(logit, quality, None, domain, family)

    @torch.no_grad()
    def attribute(self, encoded: Encoded) -> Tensor:
        """Tell how much each patch decides, all at once where it is the kernel probe alone that decides."""
        count = len(encoded["residuals"]) - 1
        if self.head is not None or self.probe is None or not count:
            return super().attribute(encoded)
        seen = _summary(encoded)
        without = Summary(
            seen.thumbnail.expand(count, -1),
            *(_means_without_each(encoded[name][1:]) for name in ("tokens", "statistics")),
        )
        parts = zip(*(part.split(_AT_A_TIME) for part in without), strict=True)
        return self.probe(seen).logits - torch.cat([self.probe(Summary(*part)).logits for part in parts])

    @torch.no_grad()
    def locate(self, encoded: Encoded, grid: PatchGrid) -> Tensor:
        """Locate by pixels (TFL); where tokens are there, too, patches that look AI-made are hot as a whole."""
        logits = self.locate_cells(encoded, grid)
        if self.probe is None or "tokens" not in encoded:
            return self.heatmap(logits)
        evidence = self.probe.evidence(encoded["tokens"][:1], encoded["tokens"][1:])
        return self.heatmap(logits, cell_map(evidence[:, None, None, None], grid)[..., 0])

    @torch.no_grad()
    def glance(self, views: Tensor, where: Positions) -> Tensor:
        """Filter the residuals in the middle of views: means of the strongest matched filters (B, 8)."""
        return self.residuals.glance(views, where.corners)

    @torch.no_grad()
    def hottest(self, encoded: Encoded) -> Tensor:
        """Return the largest p(AI) on the heatmap of each patch by itself, by the thresholds of the whole heatmap."""
        if len(encoded["residuals"]) < 2:
            return torch.zeros(0)
        grid = patch_grid(self.config.side, self.config.side, self.config.side)
        cells = torch.cat([_each_apart(encoded[name][1:], grid) for name in self._seen_by_localiser], dim=1)
        evidence = self.probe.evidence(encoded["tokens"][:1], encoded["tokens"][1:]) if self.probe is not None else None
        return self.heatmap.hottest(self.localiser(cells), evidence)

    def locate_cells(self, encoded: Encoded, grid: PatchGrid) -> Tensor:
        """Join what is known of the cells of all patches, so that no region is cut at their borders: logits of TFL.

        Returns:
            (h, w).
        """
        maps = [cell_map(encoded[name][-len(grid) :], grid) for name in self._seen_by_localiser]
        cells = torch.cat(maps, dim=2)  # (h, w, E)
        return self.localiser(cells.permute(2, 0, 1)[None])[0]

    @property
    def _seen_by_localiser(self) -> tuple[str, ...]:
        return ("residuals", "patch_tokens") if self.token_filters is not None else ("residuals",)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Let the refiner, which sees every token, work in `dtype`, with the same weights whatever it is."""
        if self.head is not None:
            self.head.refiner.bfloat16().to(dtype)

    def runtime(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Pack the layers that see every token."""
        if device.type == "cpu" and self.head is not None:
            pack_linears(self.head.refiner)
        encode = super().runtime(device, dtype)
        if self.probe is not None:
            self.probe.keep_landmarks()
        return encode


def _each_apart(patches: Tensor, grid: PatchGrid) -> Tensor:
    """Turn what each of K patches (K, h, w, E) says into cells of an image of one patch, its grid: (K, E, H, W)."""
    side_by_side = patches.permute(1, 2, 0, 3).flatten(2)[None]
    return cell_map(side_by_side, grid).unflatten(2, (len(patches), -1)).permute(2, 3, 0, 1)


def _likeliest(names: tuple[str, ...], shares: Tensor) -> str:
    """Return the name with the largest share; "unknown" where that is under a half."""
    return names[int(shares.argmax())] if float(shares.max()) >= SURE else "unknown"


def _summary(encoded: Encoded) -> Summary:
    """Average what the kernel probe sees of the patches of one image; zeros where there is none."""
    tokens, statistics = encoded["tokens"], encoded["statistics"]
    count = max(1, len(tokens) - 1)
    return Summary(tokens[:1], tokens[1:].sum(0, keepdim=True) / count, statistics[1:].sum(0, keepdim=True) / count)


def _means_without_each(rows: Tensor) -> Tensor:
    """Average all rows (K, C) but one, for each one: (K, C)."""
    return (rows.sum(0) - rows) / max(1, len(rows) - 1)


class FusionHead(nn.Module):
    """What decides on an image in the paper: refiner, FAM, classifier, QFE; and the statistics of frozen tokens.

    Scan, training and ablations all go through `refine` and `fuse`.
    """

    def __init__(self, config: HiDANetConfig, backbone_dim: int):
        super().__init__()
        taps, dim, dropout = len(config.taps), config.dim, config.dropout
        self.tap_norm = TapNorm(taps, backbone_dim)
        self.refiner = Refiner(taps, backbone_dim, dim, config.refiner_depth, config.heads, dropout)
        self.aggregator = LocalAggregator(dim, config.aggregator_depth, config.heads, dropout)
        self.classifier = Classifier(dim, dropout)
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

"""HiDA-Net, top to bottom: views -> tokens -> kernel probe and FAM -> logit; residuals -> quality (QFE); both -> heatmap.

Differences from the paper (table in `docs/method.md`): no refiner; FAM reads the [CLS] tokens of several blocks, by one
layer of attention with t_out as its only query; a kernel probe votes beside it; QFE reads pixel residuals instead of
f_detail; TFL is a CNN on pixel residuals and filtered tokens of the whole image; the parts are trained separately.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, EncodeViews, Positions
from hidascan.detectors.hidanet.filters import ResidualFilters, TokenFilters, in_phase, residual_features
from hidascan.detectors.hidanet.heads import FusionHead, QualityEstimator
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KERNEL_BATCH, KernelProbe, ProbeInput
from hidascan.detectors.hidanet.localiser import CellLocaliser, HeatmapThresholds, cell_map
from hidascan.geometry import CELL, PatchGrid, ViewPlan, patch_grid

MIN_SHARE_NAMED = 0.5  # minimum share of a domain or a family that is named


@dataclass(frozen=True)
class HiDANetConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = (6, 8, 10, 12)  # blocks whose [CLS] tokens enter the verdict, counted from 1
    cell_taps: tuple[int, ...] = ()  # blocks whose patch tokens TFL reads
    cell_filters: int = 9  # filtered values per cell, from these blocks
    side: int = 224  # side of patches and thumbnail, pixels
    components: int = 300  # principal components of the [CLS] tokens
    quality_dim: int = 256  # width of QFE
    landmarks: int = 3000  # number of landmarks of the kernel probe
    dim: int = 64  # width of FAM and classifier
    heads: int = 4  # number of heads of the attention in FAM
    residual_filters: int = 24  # filtered residuals per cell that TFL reads
    localiser_dim: int = 64  # width of TFL
    dropout: float = 0.1  # probability in training, after fusion and in TFL


class HiDANet(Detector):
    """The whole network: a frozen backbone, kernel probe and FAM on its tokens, QFE and TFL on pixel residuals."""

    Config = HiDANetConfig
    has_heatmap = True
    vote: Tensor

    def __init__(self, config: HiDANetConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side)
        tapped = sorted({*config.taps, *config.cell_taps})
        self.backbone = FrozenViT(config.backbone, tuple(tapped), config.side)
        self._deciding = [tapped.index(tap) for tap in config.taps]
        self._locating = [tapped.index(tap) for tap in config.cell_taps]
        width = len(config.taps) * self.backbone.dim
        self.probe = KernelProbe(width, config.components, config.landmarks)
        self.quality = QualityEstimator(config.quality_dim)
        self.fusion = FusionHead(width, config.dim, config.heads, config.dropout)
        self.register_buffer("vote", torch.tensor(0.0))  # weight of FAM's logit; that of the kernel probe is 1
        self.residuals = ResidualFilters(config.residual_filters)
        self.token_filters, inputs = None, config.residual_filters
        if config.cell_taps:
            self.token_filters = TokenFilters(len(config.cell_taps) * self.backbone.dim, config.cell_filters)
            inputs += config.cell_filters
        self.localiser = CellLocaliser(inputs, config.localiser_dim, config.dropout)
        self.heatmap = HeatmapThresholds()

    @torch.no_grad()
    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Encode views by backbone and pixel residuals.

        Returns:
            "projected" (B, P): principal components of the [CLS] tokens. "fam" (B, D): the same tokens embedded for FAM.
            "qfe" (B, Q): statistics of residuals, embedded by QFE. For the heatmap, "residuals" (B, S / 16, S / 16, E):
            filtered residuals of the cells; and with `cell_taps`, "filtered_tokens" (B, h, w, F): filtered patch tokens.
            "qfe" and "residuals" of thumbnails are zeros. All float32.
        """
        return {**self.encode_tokens(views, where.is_thumbnail), **self.encode_pixels(views, where)}

    def encode_tokens(self, views: Tensor, is_thumbnail: Tensor) -> Encoded:
        """Encode views (B, 3, S, S) uint8 with the backbone."""
        tapped = self.backbone.tapped(self.backbone.standardise(views), self.config.cell_taps)
        cls = torch.cat([tapped[place][:, 0] for place in self._deciding], dim=1)
        standard = self.probe.tokens.standardise(cls)
        encoded = {"projected": self.probe.tokens.project(standard), "fam": self.fusion.embed(standard, is_thumbnail)}
        if self.token_filters is not None:
            encoded["filtered_tokens"] = self.token_filters([tapped[place][:, 1:] for place in self._locating])
        return encoded

    @torch.no_grad()
    def encode_pixels(self, views: Tensor, where: Positions) -> Encoded:
        """Encode the pixel residuals of views (B, 3, S, S) uint8."""
        cells, patches = self.config.side // CELL, ~where.is_thumbnail
        encoded = {
            "residuals": views.new_zeros((len(views), cells, cells, self.config.residual_filters)).float(),
            "qfe": views.new_zeros((len(views), self.config.quality_dim)).float(),
        }
        if patches.any():
            features = residual_features(in_phase(views[patches], where.corners[patches]))
            encoded["qfe"][patches] = self.quality.embed(features.mean((1, 2)))
            encoded["residuals"][patches] = self.residuals.filtered(features)
        return encoded

    @torch.no_grad()
    def decide(self, encoded: Encoded) -> Decision:
        """Decide on one image from its encoded views, the thumbnail first."""
        embedded = encoded["fam"]
        predictions = self.probe(_probe_input(encoded)).on_cpu()
        fused = self.fusion(embedded[:1], embedded[None, 1:])[0]
        domain, family = _likeliest(DOMAINS, predictions.domains[0]), _likeliest(FAMILIES, predictions.families[0])
        quality = self.quality.estimate(encoded["qfe"][1:].sum(0, keepdim=True) / max(1, len(embedded) - 1))
        return Decision(predictions.logits[0] + (self.vote * fused).cpu(), quality[0].cpu(), None, domain, family)

    @torch.no_grad()
    def attribute(self, encoded: Encoded) -> Tensor:
        """Return the influence of each patch, computed for all patches at once."""
        embedded, count = encoded["fam"], len(encoded["fam"]) - 1
        if count < 2:
            return super().attribute(encoded)
        seen = _probe_input(encoded)
        patches = encoded["projected"][1:]
        without = ProbeInput(seen.thumbnail.expand(count, -1), (patches.sum(0) - patches) / (count - 1))
        parts = zip(*(part.split(KERNEL_BATCH) for part in without), strict=True)
        by_kernel = self.probe(seen).logits - torch.cat([self.probe(ProbeInput(*part)).logits for part in parts])
        whole = self.fusion(embedded[:1], embedded[None, 1:])
        each = self.fusion.leave_one_out(embedded[:1], embedded[1:])
        return by_kernel + self.vote * (whole - each)

    @torch.no_grad()
    def locate(self, encoded: Encoded, grid: PatchGrid) -> Tensor:
        """Locate by TFL; if there are tokens, patches with a strong kernel vote are marked as a whole."""
        logits = self.locate_cells(encoded, grid)
        if "projected" not in encoded:
            return self.heatmap(logits)
        votes = self.probe.patch_votes(encoded["projected"][:1], encoded["projected"][1:])
        return self.heatmap(logits, cell_map(votes[:, None, None, None], grid)[..., 0])

    @torch.no_grad()
    def glance(self, views: Tensor, where: Positions) -> Tensor:
        """Filter the residuals in the centre of views: means of the strongest matched filters (B, 8)."""
        return self.residuals.glance(views, where.corners)

    @torch.no_grad()
    def peak_values(self, encoded: Encoded) -> Tensor:
        """Return the largest heatmap value of each patch, taken alone, with the thresholds of the whole heatmap."""
        if len(encoded["residuals"]) < 2:
            return torch.zeros(0)
        grid = patch_grid(self.config.side, self.config.side, self.config.side)
        cells = torch.cat([_each_apart(encoded[name][1:], grid) for name in self._seen_by_localiser], dim=1)
        votes = self.probe.patch_votes(encoded["projected"][:1], encoded["projected"][1:])
        return self.heatmap.peak_values(self.localiser(cells), votes)

    def locate_cells(self, encoded: Encoded, grid: PatchGrid) -> Tensor:
        """Return the logits of TFL (h, w) for an image; the cells of all patches are joined first, across borders."""
        maps = [cell_map(encoded[name][-len(grid) :], grid) for name in self._seen_by_localiser]
        cells = torch.cat(maps, dim=2)  # (h, w, E)
        return self.localiser(cells.permute(2, 0, 1)[None])[0]

    @property
    def _seen_by_localiser(self) -> tuple[str, ...]:
        return ("residuals", "filtered_tokens") if self.token_filters is not None else ("residuals",)

    def prepare_inference(self, device: torch.device, dtype: torch.dtype) -> EncodeViews:
        """Cache the landmarks, and pack the layers applied to every token."""
        encode = super().prepare_inference(device, dtype)
        self.probe.cache_landmarks()
        return encode


def _each_apart(patches: Tensor, grid: PatchGrid) -> Tensor:
    """Map K patches (K, h, w, E) to the cells of an image of one patch each, with its grid: (K, E, H, W)."""
    side_by_side = patches.permute(1, 2, 0, 3).flatten(2)[None]
    return cell_map(side_by_side, grid).unflatten(2, (len(patches), -1)).permute(2, 3, 0, 1)


def _likeliest(names: tuple[str, ...], shares: Tensor) -> str:
    """Return the name with the largest share; "unknown" if that is below a half."""
    return names[int(shares.argmax())] if float(shares.max()) >= MIN_SHARE_NAMED else "unknown"


def _probe_input(encoded: Encoded) -> ProbeInput:
    """Average the tokens of the patches of one image for the kernel probe; zeros without patches."""
    tokens = encoded["projected"]
    return ProbeInput(tokens[:1], tokens[1:].sum(0, keepdim=True) / max(1, len(tokens) - 1))

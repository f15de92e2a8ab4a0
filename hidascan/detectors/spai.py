"""SPAI: distance of the spectrum of an image from a model of real images, over any number of patches.

"Any-Resolution AI-Generated Image Detection by Spectral Learning" (CVPR 2025), after its public code (mever-team/spai
@ 8ff7b3b). Each 224-pixel patch is split by a circle of radius 16 in its Fourier plane into low and high frequencies.
A frozen ViT encodes the patch and both parts; after each of its blocks a projector makes tokens of width 1024. The
"spectral reconstruction similarity" is the mean and deviation over tokens of three cosine similarities between them: 6
per block, 72 in all. The "spectral context vector" is a weighted sum over blocks of the patch's own projected tokens.
"Spectral context attention" joins any number of patches by one learnable query.

Differences: the ViT is that of CLIP, not pre-trained by masked frequency modelling; patches are edge-aligned, so that
they cover the whole image; without `attention` (an ablation in the paper) patches are averaged; a `token_stride` above 1
omits tokens, so that those of the frozen ViT are few enough to be computed once and cached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Decision, Detector, DetectorConfig, Encoded, Positions
from hidascan.geometry import ViewPlan

SIMILARITIES = 6  # per block: mean and deviation of three


@dataclass(frozen=True)
class SPAIConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    backbone: str = "vit_base_patch16_clip_quickgelu_224"  # any timm ViT with a [CLS] token
    taps: tuple[int, ...] = tuple(range(1, 13))  # blocks whose patch tokens are compared
    side: int = 224  # side of patches, pixels
    token_stride: int = 1  # every n-th row and column of patch tokens is used
    radius: int = 16  # radius of the low frequencies, in the Fourier plane of a patch
    dim: int = 1024  # width of projected tokens
    heads: int = 12  # number of heads of spectral context attention
    head_dim: int = 128
    widening: int = 3  # factor of the width of the classifier's hidden layers
    attention: bool = True  # spectral context attention; else the mean over patches
    dropout: float = 0.5


class SPAI(Detector):
    """SPAI on a frozen ViT."""

    Config = SPAIConfig

    def __init__(self, config: SPAIConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, thumbnail=False)
        self.frozen_encoder = config.token_stride > 1  # 11 MB of half-precision tokens per patch are too many otherwise
        self.backbone = FrozenViT(config.backbone, config.taps, config.side)
        self.spectrum = SpectralContext(self.backbone.dim, len(config.taps), config.dim, config.dropout)
        width = SIMILARITIES * len(config.taps) + config.dim
        self.attention = ContextAttention(width, config.heads, config.head_dim) if config.attention else None
        hidden = config.widening * width
        self.classifier = nn.Sequential(
            nn.LayerNorm(width),
            *(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)),
            *(nn.Linear(hidden, hidden), nn.GELU(), nn.Dropout(config.dropout)),
            nn.Linear(hidden, 1),
        )

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return "spectral" (B, 6 T + dim): similarities and context vector of each patch."""
        return self.encode_trained(self.encode_frozen(views, where))

    @torch.no_grad()
    def encode_frozen(self, views: Tensor, where: Positions) -> Encoded:
        """Return tokens (B, T, N, C) of the "whole" patches, and of their "low" and "high" frequencies."""
        pixels, backbone = views.float() / 255, self.backbone
        low, high = split_frequencies(pixels, self.config.radius)
        parts = {"whole": pixels, "low": low, "high": high}
        tokens = {name: backbone.tokens((x - backbone.mean) / backbone.std)[:, :, 1:] for name, x in parts.items()}
        return {name: thin_out(each, backbone.grid, self.config.token_stride) for name, each in tokens.items()}

    def encode_trained(self, rows: Encoded) -> Encoded:
        """Compare the tokens."""
        return {"spectral": self.spectrum(rows["whole"], rows["low"], rows["high"]).float()}

    def decide(self, encoded: Encoded) -> Decision:
        """Join the patches of an image and classify them."""
        patches = encoded["spectral"]
        joined = patches.mean(0) if self.attention is None else self.attention(patches)
        return Decision(self.classifier(joined)[0])


def split_frequencies(pixels: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Split pixels (B, 3, S, S) in 0..1 into low and high frequencies, each clamped to 0..1."""
    side = pixels.shape[-1]
    distance = torch.arange(side, device=pixels.device) - side // 2
    low = (distance[:, None].square() + distance.square()) <= radius**2  # of the shifted plane
    plane = torch.fft.fftshift(torch.fft.fft2(pixels), dim=(-2, -1))
    parts = (torch.fft.ifft2(torch.fft.ifftshift(plane * kept, dim=(-2, -1))).real for kept in (low, ~low))
    inside, outside = (part.clamp(0, 1) for part in parts)
    return inside, outside


def thin_out(tokens: Tensor, grid: int, stride: int) -> Tensor:
    """Keep every `stride`-th row and column of a grid of tokens (..., grid * grid, C)."""
    kept = slice((stride - 1) // 2, None, stride)
    return tokens.unflatten(-2, (grid, grid))[..., kept, kept, :].flatten(-3, -2)


class SpectralContext(nn.Module):
    """Similarities and spectral context vector from tokens of a patch and of its low and high frequencies."""

    def __init__(self, width: int, taps: int, dim: int, dropout: float):
        super().__init__()
        self.projectors = nn.ModuleList(_projector(width, dim, dropout) for _ in range(taps))
        self.importance = nn.Sequential(nn.Linear(2 * dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, 1))
        self.merge = nn.Linear(2 * dim, dim)

    def forward(self, whole: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Map tokens, each (B, T, N, C) of T taps, to (B, 6 T + dim)."""
        similarities, moments = [], []
        for tap, projector in enumerate(self.projectors):
            own, inside, outside = (projector(tokens[:, tap]) for tokens in (whole, low, high))
            for one, other in ((own, inside), (own, outside), (inside, outside)):
                alike = F.cosine_similarity(one, other, dim=2)  # (B, N)
                similarities += [alike.mean(1), alike.std(1)]
            moments.append(torch.cat([own.mean(1), own.std(1)], dim=1))
        stacked = torch.stack(moments, dim=1)  # (B, T, 2 dim)
        weights = torch.softmax(self.importance(stacked), dim=1)
        context = self.merge((weights * stacked).sum(1))
        return torch.cat([torch.stack(similarities, dim=1), context], dim=1)


def _projector(width: int, dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, dim), nn.GELU()),
        *(nn.Linear(dim, dim), nn.LayerNorm(dim)),
    )


class ContextAttention(nn.Module):
    """Spectral context attention: one learnable query over all patches of an image."""

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(nn.init.normal_(torch.empty(heads, head_dim), std=0.02))
        self.key, self.value = (nn.Linear(width, heads * head_dim, bias=False) for _ in range(2))
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (K, D), K any number, to (D,)."""
        keys, values = (linear(patches).unflatten(1, (self.heads, -1)) for linear in (self.key, self.value))
        scores = (keys * self.query).sum(2) * self.query.shape[1] ** -0.5  # (K, heads)
        joined = (torch.softmax(scores, dim=0)[:, :, None] * values).sum(0)
        return self.out(joined.flatten())

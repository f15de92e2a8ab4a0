"""Matched filters: linear filters that isolate traces of synthesis in patch tokens and in pixel residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.layers import npr
from hidascan.geometry import CELL

LARGEST = 6.0  # magnitude at which features are clipped, in standard deviations
BLOCK = 8  # pixels: the period of JPEG's blocks and of the decoders of latent diffusion models
_RESIDUALS = 9
_PHASES = 2 * _RESIDUALS * BLOCK * BLOCK
PHASE_FEATURES = _PHASES + _RESIDUALS  # 8x8 phase means, signed and absolute, then log strengths; co-occurrences follow
_LEVELS = 5  # of a quantised residual: -2, -1, 0, 1, 2
_STEPS = ((0, 1.0), (0, 3.0), (1, 1.0), (2, 1.0))  # (channel, quantisation step) of the co-occurrences
HISTOGRAM = _LEVELS**3  # bins of one co-occurrence
FEATURES = PHASE_FEATURES + 2 * len(_STEPS) * HISTOGRAM
_GLANCE = 112  # side of the window in the centre of a view that a glance uses, pixels
_STRONGEST = 8  # filters that it uses


class MatchedFilters(nn.Module):
    """Standardises features, clamps outliers, and filters; all parameters are fitted in closed form by the lab."""

    mean: Tensor
    spread: Tensor
    filters: Tensor
    offset: Tensor

    def __init__(self, features: int, filters: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("filters", torch.zeros(features, filters))
        self.register_buffer("offset", torch.zeros(filters))

    def filtered(self, features: Tensor) -> Tensor:
        """Filter features (..., F) float32, which are overwritten, into (..., E)."""
        return self.standardised(features) @ self.filters - self.offset

    def standardised(self, features: Tensor) -> Tensor:
        """Express features (..., F) float32, which are overwritten, in standard deviations within +-6."""
        return features.sub_(self.mean).div_(self.spread).clamp_(-LARGEST, LARGEST)


def standardise(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Express features (..., F) in standard deviations within +-6, float32."""
    return ((features.float() - mean) / deviation).clamp(-LARGEST, LARGEST)


class TokenFilters(MatchedFilters):
    """Tokens of a cell after several blocks -> E numbers.

    Tokens depend on content far more than on synthesis; the filters use directions in which content hardly varies.
    """

    def forward(self, blocks: Sequence[Tensor]) -> Tensor:
        """Filter the patch tokens of T blocks, one block after the other.

        Joined, as `filtered` expects them, they would exceed the caches of a processor many times.

        Args:
            blocks: T tensors (B, N, C) float32, N = h * w and h = w.

        Returns:
            (B, h, w, E) float32.
        """
        numbers = -self.offset
        parts = zip(*(part.chunk(len(blocks)) for part in (self.mean, self.spread, self.filters)), strict=True)
        for tokens, (mean, spread, filters) in zip(blocks, parts, strict=True):
            numbers = numbers + (tokens - mean).div_(spread).clamp_(-LARGEST, LARGEST) @ filters
        side = math.isqrt(int(numbers.shape[1]))
        return numbers.unflatten(1, (side, side))


def in_phase(views: Tensor, corners: Tensor) -> Tensor:
    """Roll views by up to 7 pixels, so that their first block is a whole one of the image's grid of 8x8 blocks.

    The last row and column of patches may start anywhere. `views` is (B, C, H, W); `corners` (B, 2), their top and left.
    """
    shifts = -corners % BLOCK  # (B, 2): rows and columns of the first block that is cut
    if not shifts.any():
        return views
    size = torch.arange(views.shape[-1], device=views.device)
    rows, columns = ((size + shifts[:, axis, None]) % views.shape[-1] for axis in (0, 1))
    views = views.gather(2, rows[:, None, :, None].expand_as(views))
    return views.gather(3, columns[:, None, None, :].expand_as(views))


class ResidualFilters(MatchedFilters):
    """Pixels -> filtered residuals, E numbers for each cell of 16x16 pixels.

    Traces of up-sampling layers and block transforms are far weaker than the picture, but periodic, so averaging reveals
    them. Both kinds of features are means or frequencies, which can be averaged over any number of cells afterwards.

    Phase profiles: for nine residuals (second differences across and down, and NPR; of brightness and two colours),
    relative to their local strength, the mean of the signed and of the absolute residual at each of the 8x8 phases.

    Co-occurrences: frequency of each triple of neighbouring second differences, quantised to five levels
    ("Rich Models for Steganalysis of Digital Images", TIFS 2012), along the difference and across it.

    Matched filters, fitted in closed form by the lab, map these to E numbers.
    """

    def __init__(self, filters: int):
        super().__init__(FEATURES, filters)

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """Filter the residuals of views (B, 3, S, S) uint8, cut at multiples of 8 pixels: (B, S // 16, S // 16, E)."""
        return self.filtered(residual_features(views))

    @torch.no_grad()
    def glance(self, views: Tensor, corners: Tensor) -> Tensor:
        """Average the strongest filters over a window in the centre of each view (B, 3, S, S) uint8: (B, 8)."""
        side = min(_GLANCE, views.shape[-1] - BLOCK)
        first = (views.shape[-1] - side) // 2 // BLOCK * BLOCK
        starts = (first + -corners % BLOCK).tolist()  # at the corner of a block, as the filters require
        windows = [
            view[:, top : top + side, left : left + side] for view, (top, left) in zip(views, starts, strict=True)
        ]
        return self.filtered(residual_features(torch.stack(windows))).mean((1, 2))[:, :_STRONGEST]

    @torch.no_grad()
    def standardised_features(self, views: Tensor, corners: Tensor) -> Tensor:
        """Compute all features (B, S // 16, S // 16, FEATURES) of views, in standard deviations within +-6."""
        return self.standardised(residual_features(in_phase(views, corners)))


def residual_features(views: Tensor) -> Tensor:
    """Compute the residual features of the cells of views: (B, 3, S, S) uint8 -> (B, S // 16, S // 16, FEATURES)."""
    side = views.shape[-1] // CELL * CELL
    planes = _planes(views[..., :side, :side].float())
    return torch.cat([_phase_profiles(planes), _co_occurrences(planes)], dim=-1)


def mean_features(views: Tensor, corners: Tensor) -> Tensor:
    """Average the residual features of views (B, 3, S, S) uint8 over their cells: (B, FEATURES) float32."""
    return residual_features(in_phase(views, corners)).mean((1, 2))


def _planes(pixels: Tensor) -> Tensor:
    """Convert (B, 3, H, W) RGB 0..255 to brightness and two colour differences, as in JPEG."""
    red, green, blue = pixels.unbind(1)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([bright, 0.564 * (blue - bright), 0.713 * (red - bright)], dim=1)


def _second_differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute second differences of (B, C, H, W) across and down, in the same shape; mirrored at the border."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    across = 2 * x - padded[:, :, 1:-1, :-2] - padded[:, :, 1:-1, 2:]
    return across, 2 * x - padded[:, :, :-2, 1:-1] - padded[:, :, 2:, 1:-1]


def _phase_profiles(planes: Tensor) -> Tensor:
    """Compute phase profiles of planes (B, 3, H, W): (B, H / 16, W / 16, PHASE_FEATURES), log strengths last."""
    residuals = torch.cat([*_second_differences(planes), npr(planes)], dim=1)
    strength = F.avg_pool2d(F.avg_pool2d(residuals.abs(), BLOCK), 3, 1, 1, count_include_pad=False) + 0.25
    relative = (residuals / F.interpolate(strength, scale_factor=BLOCK)).clamp_(-4, 4)
    profiles = [_phase_means(part) for part in (relative, relative.abs())]
    return torch.cat([*profiles, F.avg_pool2d(strength.log(), 2).permute(0, 2, 3, 1)], dim=-1)


def _phase_means(x: Tensor) -> Tensor:
    """Average the four blocks of each cell, phase by phase: (B, C, H, W) -> (B, H / 16, W / 16, C * 64)."""
    blocks = x.unflatten(3, (-1, 2, BLOCK)).sum(4)
    blocks = blocks.unflatten(2, (-1, 2, BLOCK)).sum(3)  # (B, C, H / 16, 8, W / 16, 8)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3) / 4


def _co_occurrences(planes: Tensor) -> Tensor:
    """Compute the frequencies of triples of residuals in planes (B, 3, H, W): (B, H / 16, W / 16, 8 * 125).

    Each 125 of them sum to 1.
    """
    batch, _, height, width = planes.shape
    across, down = _second_differences(planes)
    rows, columns = height // CELL, width // CELL
    cells = torch.arange(batch * rows * columns, dtype=torch.int32, device=planes.device).view(
        batch, rows, 1, columns, 1
    )
    cells = cells.expand(-1, -1, CELL, -1, CELL).reshape(batch, height, width) * HISTOGRAM
    counts_of = []
    for channel, step in _STEPS:
        levels = [(part[:, channel] / step).round_().clamp_(-2, 2).add_(2).int() for part in (across, down)]
        triples = [
            [cells.narrow(axis, 1, part.shape[axis] - 2) + _triples(part, axis) for axis in (2, 1)] for part in levels
        ]
        # along the direction of the difference (horizontal, vertical), then at right angles to it
        for chosen in ((triples[0][0], triples[1][1]), (triples[0][1], triples[1][0])):
            both = torch.cat([part.flatten() for part in chosen])
            counts_of.append(_counted(both, batch * rows * columns * HISTOGRAM))
    counts = torch.stack(counts_of).view(len(counts_of), batch, rows, columns, HISTOGRAM).permute(1, 2, 3, 0, 4).float()
    return (counts / counts.sum(-1, keepdim=True)).flatten(3)


def _counted(numbers: Tensor, bins: int) -> Tensor:
    """Count the occurrences of each of 0..bins - 1."""
    if numbers.device.type == "cpu":
        return torch.bincount(numbers, minlength=bins)
    # bincount would wait for the GPU
    ones = torch.ones(1, dtype=torch.int32, device=numbers.device).expand(len(numbers))
    return torch.zeros(bins, dtype=torch.int32, device=numbers.device).index_add_(0, numbers, ones)


def _triples(levels: Tensor, axis: int) -> Tensor:
    """Encode triples of neighbouring levels 0..4 (B, H, W) along an axis as 0..124; the axis gets 2 shorter."""
    length = levels.shape[axis] - 2
    first, second, third = (levels.narrow(axis, start, length) for start in range(3))
    return third.add(second, alpha=_LEVELS).add_(first, alpha=_LEVELS**2)

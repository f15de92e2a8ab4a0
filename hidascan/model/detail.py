"""The detail path: what decoders and compression leave in pixels, gathered in cells of 16x16 pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 8  # pixels: the period of JPEG's blocks and of the decoders of latent diffusion models
CELL = 16  # pixels: side of the squares for which the detail path speaks
_RESIDUES = 9
_PHASES = 2 * _RESIDUES * BLOCK * BLOCK
PROFILES = _PHASES + _RESIDUES  # features of the first kind, then those of the second
_LEVELS = 5  # of a quantised residue: -2, -1, 0, 1, 2
_STEPS = ((0, 1.0), (0, 3.0), (1, 1.0), (2, 1.0))  # (channel, quantisation step) of the co-occurrences
HISTOGRAM = _LEVELS**3
FEATURES = PROFILES + 2 * len(_STEPS) * HISTOGRAM
_LARGEST = 6.0  # of a feature, in standard deviations


def npr(x: Tensor, scale: int = 2) -> Tensor:
    """Neighbouring pixel relations: x - up(down(x, 1 / scale), scale), both by nearest neighbour ("Rethinking the
    Up-Sampling Operations", CVPR 2024). x (B, C, H, W), H and W multiples of scale -> the same shape."""
    return x - F.interpolate(x[..., ::scale, ::scale], scale_factor=scale, mode="nearest")


def in_phase(views: Tensor, corners: Tensor) -> Tensor:
    """Roll views (B, C, H, W), which start at corners (B, 2) of their images, by up to 7 pixels, so that their first
    block is a whole one of the image's grid of 8x8 blocks: the last row and column of patches may start anywhere."""
    shifts = -corners % BLOCK  # (B, 2): rows and columns of the first block that is cut
    if not shifts.any():
        return views
    size = torch.arange(views.shape[-1], device=views.device)
    rows, columns = ((size + shifts[:, axis, None]) % views.shape[-1] for axis in (0, 1))
    views = views.gather(2, rows[:, None, :, None].expand_as(views))
    return views.gather(3, columns[:, None, None, :].expand_as(views))


class DetailStem(nn.Module):
    """Pixels -> traces: a few numbers for each cell of 16x16 pixels.

    What up-sampling layers and block transforms leave is far weaker than the picture, but it repeats, so adding up
    brings it out. Features of two kinds are made for that: means and frequencies, which can be averaged over any
    number of cells afterwards.

    Phase profiles: of nine residues (second differences across and down, and NPR; of brightness and two colours)
    relative to their strength around, the mean of the signed and of the absolute residue at each of the 8x8 phases.

    Co-occurrences: how often each triple of neighbouring second differences, quantised to five levels, occurs
    ("Rich Models for Steganalysis of Digital Images", TIFS 2012), along the difference and across it.

    `filters` makes `traces` numbers of these; they are matched filters, fitted in closed form (lab.filters).
    """

    def __init__(self, traces: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.register_buffer("filters", torch.zeros(FEATURES, traces))
        self.register_buffer("offset", torch.zeros(traces))

    @torch.no_grad()
    def forward(self, views: Tensor, corners: Tensor | None = None) -> Tensor:
        """views (B, 3, S, S) uint8 -> traces (B, S // 16, S // 16, traces) float32.

        corners (B, 2): where each view starts in its image, pixels; multiples of 8 if there are none.
        """
        return self.standard(views, corners) @ self.filters - self.offset

    @torch.no_grad()
    def standard(self, views: Tensor, corners: Tensor | None = None) -> Tensor:
        """As forward, but all features (B, S // 16, S // 16, FEATURES), in standard deviations within +-6."""
        features = self.features(views if corners is None else in_phase(views, corners))
        return features.sub_(self.mean).div_(self.spread).clamp_(-_LARGEST, _LARGEST)

    @torch.no_grad()
    def features(self, views: Tensor) -> Tensor:
        """The same, as they are."""
        side = views.shape[-1] // CELL * CELL
        planes = _planes(views[..., :side, :side].float())
        return torch.cat([_phase_profiles(planes), _co_occurrences(planes)], dim=-1)


def _planes(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) RGB 0..255 -> brightness and two colour differences, as JPEG has them."""
    red, green, blue = pixels.unbind(1)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([bright, 0.564 * (blue - bright), 0.713 * (red - bright)], dim=1)


def _second_differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> across and down, the same shape; mirrored at the border."""
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    across = 2 * x - padded[:, :, 1:-1, :-2] - padded[:, :, 1:-1, 2:]
    return across, 2 * x - padded[:, :, :-2, 1:-1] - padded[:, :, 2:, 1:-1]


def _phase_profiles(planes: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, H / 16, W / 16, PROFILES), the logarithm of the strengths last."""
    residues = torch.cat([*_second_differences(planes), npr(planes)], dim=1)
    strength = F.avg_pool2d(F.avg_pool2d(residues.abs(), BLOCK), 3, 1, 1, count_include_pad=False) + 0.25
    relative = (residues / F.interpolate(strength, scale_factor=BLOCK)).clamp_(-4, 4)
    profiles = [_phase_means(part) for part in (relative, relative.abs())]
    return torch.cat([*profiles, F.avg_pool2d(strength.log(), 2).permute(0, 2, 3, 1)], dim=-1)


def _phase_means(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H / 16, W / 16, C * 64): of each cell, the mean of its four blocks, phase by phase."""
    blocks = x.unflatten(3, (-1, 2, BLOCK)).sum(4)
    blocks = blocks.unflatten(2, (-1, 2, BLOCK)).sum(3)  # (B, C, H / 16, 8, W / 16, 8)
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3) / 4


def _co_occurrences(planes: Tensor) -> Tensor:
    """(B, 3, H, W) -> frequencies (B, H / 16, W / 16, 8 * 125): along and across, for each of _STEPS."""
    batch, _, height, width = planes.shape
    across, down = _second_differences(planes)
    rows, columns = height // CELL, width // CELL
    cells = torch.arange(batch * rows * columns, dtype=torch.int32, device=planes.device).view(
        batch, rows, 1, columns, 1
    )
    cells = cells.expand(-1, -1, CELL, -1, CELL).reshape(batch, height, width) * HISTOGRAM
    found = []
    for channel, step in _STEPS:
        levels = [(part[:, channel] / step).round_().clamp_(-2, 2).add_(2).int() for part in (across, down)]
        triples = [
            [cells.narrow(axis, 1, part.shape[axis] - 2) + _triples(part, axis) for axis in (2, 1)] for part in levels
        ]
        for chosen in ((triples[0][0], triples[1][1]), (triples[0][1], triples[1][0])):
            both = torch.cat([part.flatten() for part in chosen])
            found.append(torch.bincount(both, minlength=batch * rows * columns * HISTOGRAM))
    counts = torch.stack(found).view(len(found), batch, rows, columns, HISTOGRAM).permute(1, 2, 3, 0, 4).float()
    return (counts / counts.sum(-1, keepdim=True)).flatten(3)


def _triples(levels: Tensor, axis: int) -> Tensor:
    """(B, H, W) levels 0..4 -> the number 0..124 of each three neighbours along an axis, which gets 2 shorter."""
    length = levels.shape[axis] - 2
    first, second, third = (levels.narrow(axis, start, length) for start in range(3))
    return third.add(second, alpha=_LEVELS).add_(first, alpha=_LEVELS**2)

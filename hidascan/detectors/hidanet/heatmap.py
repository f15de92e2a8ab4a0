"""The heatmap: what TFL says of cells and the kernel probe of patches, and from where on that counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.geometry import seeded

_STEEPNESS = 8.0  # of a patch's evidence, whose logits lie between about -1 and 1, on the scale of TFL's
_NEIGHBOURHOOD = 3  # cells
_BACKGROUND_SHARE = 0.25  # share of the cells of a picture that are taken for its background
_COLD_BACKGROUND = -4.0  # logit up to which a background is that of an untouched photo
_COLD = 1.0  # logits by which cells without a seed are pushed under the threshold


class HeatmapLaw(nn.Module):
    """Joins logits of cells and evidence of patches into a map in which 0.5 is the threshold.

    Thresholds have hysteresis, as edges have in "A Computational Approach to Edge Detection" (PAMI 1986): a region must
    hold a neighbourhood of cells that is sure in the mean, and then reaches as far as cells are likely. A single cell
    makes no region, so photos stay cold, and regions whole.

    Attributes:
        likely: () Threshold of TFL's logits from which a cell may belong to a region.
        sure: () Threshold of their mean over a neighbourhood, which a region must reach.
        evidence: () Threshold of the kernel probe's logits from which a patch is hot as a whole.
    """

    likely: Tensor
    sure: Tensor
    evidence: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("likely", torch.tensor(0.0))
        self.register_buffer("sure", torch.tensor(0.0))
        self.register_buffer("evidence", torch.tensor(1.0))

    def forward(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return p(AI) (h, w) of cells, at least 0.5 where they count as AI-made.

        Args:
            cells: (h, w) logits of TFL.
            patches: (h, w) what the kernel probe says of the patches around; None if it was not asked.
        """
        room, cells = self._room(), above_background(cells[None])[0]
        logits = self._over_likely(cells, patches)
        means = self._over_likely(neighbourhood_means(cells[None])[0], patches)
        hot = torch.from_numpy(seeded(logits.cpu().numpy(), means.cpu().numpy(), 0.0, float(room))).to(logits.device)
        return torch.sigmoid(torch.where(hot, logits, _cooled(logits, room)))

    def hottest(self, cells: Tensor, patches: Tensor | None = None) -> Tensor:
        """Return the largest p(AI) (K,) on the map of each of K patches by itself.

        The surest neighbourhood makes a region, or none does, so that no regions need be found.

        Args:
            cells: (K, h, w) logits of TFL.
            patches: (K,) what the kernel probe says of each.
        """
        room, cells = self._room(), above_background(cells)
        logits = self._over_likely(cells.amax((1, 2)), patches)
        seeds = neighbourhood_means(cells).where(cells >= self.likely, -torch.inf)
        surest = self._over_likely(seeds.amax((1, 2)), patches)
        return torch.sigmoid(torch.where(surest >= room, logits, _cooled(logits, room)))

    def _over_likely(self, cells: Tensor, patches: Tensor | None) -> Tensor:
        logits = cells - self.likely
        if patches is None:
            return logits
        return torch.maximum(logits, self._room() + _STEEPNESS * (patches - self.evidence))

    def _room(self) -> Tensor:
        """Return what lies between both thresholds: ()."""
        return (self.sure - self.likely).clamp_min(0)


def above_background(cells: Tensor) -> Tensor:
    """Lower the logits (B, h, w) of pictures that are warm all over, so that only what stands out is left.

    TFL looks for parts that differ from the rest; whether all of a picture is generated is for the kernel probe to say.
    """
    background = cells.flatten(1).quantile(_BACKGROUND_SHARE, dim=1)
    return cells - (background - _COLD_BACKGROUND).clamp_min(0)[:, None, None]


def neighbourhood_means(cells: Tensor) -> Tensor:
    """Average (B, h, w) over neighbourhoods of 3 x 3 cells, cut off at the border, in the same shape."""
    return F.avg_pool2d(cells[:, None], _NEIGHBOURHOOD, 1, _NEIGHBOURHOOD // 2, count_include_pad=False)[:, 0]


def _cooled(logits: Tensor, room: Tensor) -> Tensor:
    """Push cells without a seed under the threshold, and keep their order: those above it go to -1..-0.5."""
    return torch.where(logits < 0, logits, _COLD / 2 * logits / (logits.abs() + room + 1e-6)) - _COLD

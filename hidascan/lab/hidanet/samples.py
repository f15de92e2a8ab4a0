"""Cut composites into training samples: views, and exact labels of tokens, verdict and quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hidascan.geometry import PATCH, Box, patch_grid
from hidascan.image.views import mirror_to, thumbnail
from hidascan.lab.data.composites import Composite, CompositeMaker
from hidascan.lab.data.degradations import Degradation, degrade, known_quality
from hidascan.lab.data.forgeries import cell_shares


@dataclass(frozen=True)
class TrainingSample:
    """What the network is shown and what it should say.

    Attributes:
        views: (1 + K, 224, 224, 3) uint8, the thumbnail first.
        token_labels: (K, 14, 14) float32 in 0..1, the share of AI-made pixels in each token's cell.
        label: 1 if there is any AI-made pixel.
        quality: 1..100, NaN where it is not known.
        composite: Number, within its draw, of the composite that was degraded; degraded copies of one show the same
            places.
        groups: Of the images in it, as their table names them.
    """

    views: np.ndarray
    token_labels: np.ndarray
    label: int
    quality: float
    composite: int
    groups: tuple[str, ...]


class SampleMaker:
    """Draws samples for a network with `grid` tokens along a side of a patch."""

    def __init__(self, composites: CompositeMaker, grid: int):
        self.composites, self.grid = composites, grid

    def make(self, rng: np.random.Generator) -> list[TrainingSample]:
        """Make the samples of one draw."""
        return [self._cut(*drawn) for drawn in self.composites.draw(rng)]

    def _cut(
        self, number: int, composite: Composite, degradation: Degradation, rng: np.random.Generator
    ) -> TrainingSample:
        """Degrade, cut into views (which, by rng), label."""
        degraded = degrade(composite.pixels, degradation)
        cut = [a - b for a, b in zip(composite.pixels.shape[:2], degraded.shape[:2], strict=True)]
        mask = composite.mask[cut[0] :, cut[1] :]
        pixels = mirror_to(degraded)
        ai_share = mirror_to(np.repeat(mask[..., None].astype(np.uint8), 3, axis=2))[..., 0]
        boxes = patch_grid(*degraded.shape[:2]).boxes()
        wanted = min(len(boxes), int(rng.choice(self.composites.spec.patch_counts)))
        chosen = sorted(int(place) for place in rng.choice(len(boxes), wanted, replace=False))
        if not mask.all() and mask.any():  # a swap must not lose its region to the draw of the patches
            chosen = _with_most_ai(chosen, boxes, ai_share)
        views = np.stack([thumbnail(pixels), *(_part(pixels, boxes[place]) for place in chosen)])
        shares = [cell_shares(_part(ai_share, boxes[place]), PATCH // self.grid) for place in chosen]
        quality = known_quality(composite.quality, degradation)
        return TrainingSample(
            views,
            np.stack(shares).astype(np.float32),
            int(mask.any()),
            float("nan") if quality is None else quality,
            number,
            composite.groups,
        )


def _part(pixels: np.ndarray, box: Box) -> np.ndarray:
    return pixels[box.top : box.top + box.height, box.left : box.left + box.width]


def _with_most_ai(chosen: list[int], boxes: list[Box], ai_share: np.ndarray) -> list[int]:
    best = int(np.argmax([_part(ai_share, box).sum() for box in boxes]))
    return chosen if best in chosen else sorted([*chosen[1:], best])

"""Draw labelled images for the training of any detector, degrade both classes alike, and cut them by its plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.base import Encoded, Positions
from hidascan.errors import HidascanError, RecipeError
from hidascan.geometry import CELL, ViewPlan
from hidascan.image.views import Views, cut_views, mirror_to
from hidascan.lab.data.autoencoders.base import Autoencoder
from hidascan.lab.data.composites import Composite, CompositeMaker
from hidascan.lab.data.degradations import Degradation, degrade
from hidascan.lab.data.forgeries import cell_shares
from hidascan.lab.data.sampling import BalancedSampler, SamplingSpec
from hidascan.lab.data.tables import LabelledImage

Drawn = tuple[Composite, Degradation, np.random.Generator]


@dataclass(frozen=True)
class Sample:
    """One image: its views, or what they were encoded to, and its label.

    Attributes:
        label: 1 if there is any AI-made pixel.
        views: What a detector is shown.
        encoded: What came of it.
        shares: (V, h, w) of AI-made pixels in each cell of the views; None where there is a thumbnail.
    """

    label: int
    views: Views | None = None
    encoded: Encoded | None = None
    shares: np.ndarray | None = None


class SampleDrawer:
    """Samples by their numbers: each has a random generator of its own, so they can be drawn again."""

    def __init__(
        self,
        images: list[LabelledImage],
        sampling: SamplingSpec,
        plan: ViewPlan,
        side: int,
        group_power: float,
        seed: int,
        autoencoders: tuple[Autoencoder, ...] = (),
    ):
        """Set up.

        Args:
            images: What is drawn from.
            sampling: The law.
            plan: How the detector wants images cut.
            side: Of random crops, for a detector that looks at an image at its own size, pixels.
            group_power: As of BalancedSampler.
            seed: Of all draws.
            autoencoders: What makes reconstructions, if there are pairs or swaps.

        Raises:
            RecipeError: If there are pairs or swaps and no autoencoder, or no image of a class.
        """
        if (sampling.pair or sampling.swap) and not autoencoders:
            raise RecipeError("sampling.pair and sampling.swap need data.autoencoders")
        real, ai = (BalancedSampler(images, label, group_power) for label in (0, 1))
        self._maker, self._plan, self._seed = CompositeMaker(sampling, real, ai, *autoencoders), plan, seed
        self._side = plan.side or side

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample; a file that cannot be read is replaced by the next draw of the same generator."""
        for attempt in range(20):
            try:
                composite, degradation, places = self._drawn(number, attempt)
            except HidascanError as error:
                tqdm.write(f"skipped: {error}")
            else:
                return self._cut(composite, degradation, places)
        raise RecipeError("20 unreadable images in a row: check the tables")

    def _drawn(self, number: int, attempt: int) -> Drawn:
        """Draw both sides of a pair for two neighbouring numbers, and anything else for each number by itself."""
        both = self._draw(number // 2, attempt, 6) if self._maker.spec.pair else []
        if len(both) > 1:
            return both[number % 2]
        drawn = self._draw(number, attempt, 4)
        return drawn[number % len(drawn)]

    def _draw(self, number: int, attempt: int, stream: int) -> list[Drawn]:
        rng = np.random.default_rng([self._seed, stream, number, *([attempt] if attempt else [])])
        once: dict[int, Drawn] = {}
        for place, composite, degradation, places in self._maker.draw(rng):
            once.setdefault(place, (composite, degradation, places))
        return list(once.values())

    def _cut(self, composite: Composite, degradation: Degradation, rng: np.random.Generator) -> Sample:
        """Degrade, and cut by the plan; one whole view, or the one in the centre, becomes a random crop."""
        pixels = degrade(composite.pixels, degradation)
        mask = composite.mask[composite.mask.shape[0] - pixels.shape[0] :, composite.mask.shape[1] - pixels.shape[1] :]
        label = int(mask.any())
        if self._plan.side is None or self._plan.patches == "centre":
            height, width = (max(self._side, length) for length in pixels.shape[:2])
            top, left = (int(rng.integers(0, length - self._side + 1)) for length in (height, width))
            window = (slice(top, top + self._side), slice(left, left + self._side))
            views = cut_views(pixels[window], ViewPlan(self._side, thumbnail=False))
            return Sample(label, views, shares=_shares(mask[window], views, self._side))
        views = cut_views(pixels, self._plan)
        return Sample(label, views, shares=None if views.thumbnail else _shares(mask, views, self._side))


def _shares(mask: np.ndarray, views: Views, side: int) -> np.ndarray:
    filled = mirror_to(np.repeat(mask[..., None].astype(np.uint8), 3, axis=2), side)[..., 0]
    parts = [filled[box.top : box.top + box.height, box.left : box.left + box.width] for box in views.boxes]
    return np.stack([cell_shares(part, CELL) for part in parts]).astype(np.float32)


def views_of(samples: list[Sample], device: torch.device) -> tuple[Tensor, Positions]:
    """Put the views of samples side by side: (B, 3, H, W) uint8, and where they lie."""
    views = [sample.views for sample in samples if sample.views]
    pixels = torch.from_numpy(np.stack([view for one in views for view in one.pixels])).permute(0, 3, 1, 2)
    thumbnails = [one.thumbnail and number == 0 for one in views for number in range(len(one))]
    corners = [[box.top, box.left] for one in views for box in one.boxes]
    return pixels.to(device), Positions(torch.tensor(thumbnails, device=device), torch.tensor(corners, device=device))


def split_by_image(encoded: Encoded, counts: list[int]) -> list[Encoded]:
    """Part the rows of a batch by image, `counts` rows each."""
    parts = {name: rows.split(counts) for name, rows in encoded.items()}
    return [{name: part[number] for name, part in parts.items()} for number in range(len(counts))]

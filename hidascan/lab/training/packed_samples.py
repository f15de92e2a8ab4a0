"""Draw training samples from packs so that neither size, file format nor JPEG grid reveals the class.

A draw first chooses a size and a range of JPEG qualities, from a distribution that both classes share, and only then a
class and one of its windows. Lossless windows get a JPEG history of that range. Half of the samples are delivered by
the catalogue of deliveries, the others stay as stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hidascan.errors import RecipeError
from hidascan.geometry import ViewPlan
from hidascan.image.perturb import compress
from hidascan.lab.data.degradations import jpeg_of, random_window
from hidascan.lab.data.deliveries import draw_delivery
from hidascan.lab.data.packs import SIDES, DecodedWindows, Window
from hidascan.lab.data.tables import BalancedSampler
from hidascan.lab.training.recipe import EndToEndRecipe
from hidascan.lab.training.samples import Sample, cut_for_training

_QUALITIES = ((1, 84), (85, 94), (95, 100))
_DELIVERED = 0.5  # share of samples
_GRID = 16  # pixels: the blocks of a JPEG with 4:2:0


@dataclass(frozen=True)
class Stratum:
    """Windows of both classes with a size and a range of JPEG qualities in common.

    Attributes:
        side: Side of the samples cut from them, pixels.
        qualities: Qualities of its JPEG windows; none if all windows of the packs are lossless.
        samplers: Samplers of real and of AI windows.
        count: Number of windows of the rarer class.
    """

    side: int
    qualities: tuple[int, ...]
    samplers: tuple[BalancedSampler, BalancedSampler]
    count: int


class PackedSamples:
    """Samples by number, drawn from decoded windows; each has its own random generator."""

    def __init__(self, recipe: EndToEndRecipe, plan: ViewPlan, windows: list[Window], decoded: DecodedWindows):
        """Set up; of the recipe's sampling, only the shares of classes are used.

        Raises:
            RecipeError: If there are pairs or swaps, or the classes have no size and quality in common.
        """
        sampling, spec = recipe.sampling, recipe.training
        if sampling.pair or sampling.swap:
            raise RecipeError("sampling.pair and sampling.swap need data.tables, not data.packs")
        self._decoded, self._plan, self._side, self._seed = decoded, plan, spec.side, recipe.seed
        self._ai_share = sampling.ai / (sampling.real + sampling.ai)
        self._strata = strata_of(windows, spec.group_power)
        counts = np.array([stratum.count for stratum in self._strata], float)
        self._shares = counts / counts.sum()

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample."""
        rng = np.random.default_rng([self._seed, 8, number])
        stratum = self._strata[rng.choice(len(self._strata), p=self._shares)]
        label = int(rng.random() < self._ai_share)
        window = stratum.samplers[label].draw(rng)
        assert isinstance(window, Window)
        stored = self._decoded.pixels(window)
        pixels = stored[random_window(stored.shape, stratum.side + _GRID, rng)]
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if not window.quality and stratum.qualities:
            pixels = compress(pixels, jpeg_of(int(rng.choice(stratum.qualities)), rng))
        pixels = pixels[random_window(pixels.shape, stratum.side, rng)]
        if rng.random() < _DELIVERED:
            pixels = draw_delivery(rng)(np.ascontiguousarray(pixels))
        mask = np.full(pixels.shape[:2], bool(label))
        return cut_for_training(pixels, mask, rng, self._plan, self._side)


def strata_of(windows: list[Window], group_power: float) -> list[Stratum]:
    """Divide windows by size and JPEG quality; a window is in every stratum that it fits.

    Raises:
        RecipeError: If a class is missing, or the classes have nothing in common.
    """
    for label in (0, 1):
        BalancedSampler([*windows], label, group_power)
    ranges = _QUALITIES if any(window.quality for window in windows) else ((0, 0),)
    found = []
    for side in SIDES:
        fitting = [window for window in windows if min(window.box[2:]) >= side]
        for low, high in ranges:
            members = [window for window in fitting if not window.quality or low <= window.quality <= high]
            qualities = tuple(window.quality for window in members if window.quality)
            ai = sum(window.label for window in members)
            count = min(ai, len(members) - ai)
            if count and (qualities or not high):
                real, generated = (BalancedSampler([*members], label, group_power) for label in (0, 1))
                found.append(Stratum(side, qualities, (real, generated), count))
    if not found:
        raise RecipeError("the packs contain no real and AI images of a common size and JPEG quality")
    return found

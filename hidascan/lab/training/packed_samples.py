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
from hidascan.image.perturb import Compression, compress
from hidascan.lab.data.deliveries import draw_delivery
from hidascan.lab.data.packs import SIDES, DecodedWindows, Window
from hidascan.lab.data.sampling import BalancedSampler, SamplingSpec
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

    def __init__(
        self,
        windows: list[Window],
        decoded: DecodedWindows,
        sampling: SamplingSpec,
        plan: ViewPlan,
        side: int,
        group_power: float,
        seed: int,
    ):
        """Set up.

        Args:
            windows: Windows to draw from.
            decoded: Their pixels.
            sampling: Sampling settings, of which only the shares of classes are used.
            plan: Division of images into views.
            side: Side of random crops, pixels, for detectors of images at their own size.
            group_power: Exponent of BalancedSampler.
            seed: Random seed of all draws.

        Raises:
            RecipeError: If there are pairs or swaps, or the classes have no size and quality in common.
        """
        if sampling.pair or sampling.swap:
            raise RecipeError("sampling.pair and sampling.swap need data.tables, not data.packs")
        self._decoded, self._plan, self._side, self._seed = decoded, plan, side, seed
        self._ai_share = sampling.ai / (sampling.real + sampling.ai)
        self._strata = strata_of(windows, group_power)
        counts = np.array([stratum.count for stratum in self._strata], float)
        self._shares = counts / counts.sum()

    def __getitem__(self, number: int) -> Sample:
        """Draw a sample."""
        rng = np.random.default_rng([self._seed, 8, number])
        stratum = self._strata[rng.choice(len(self._strata), p=self._shares)]
        label = int(rng.random() < self._ai_share)
        window = stratum.samplers[label].draw(rng)
        assert isinstance(window, Window)
        pixels = _part(self._decoded.pixels(window), stratum.side + _GRID, rng)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if not window.quality and stratum.qualities:
            save = Compression("JPEG", int(rng.choice(stratum.qualities)), int(rng.choice([0, 2], p=[0.3, 0.7])))
            pixels = compress(pixels, save)
        pixels = _part(pixels, stratum.side, rng)
        if rng.random() < _DELIVERED:
            pixels = draw_delivery(rng)(np.ascontiguousarray(pixels))
        mask = np.full(pixels.shape[:2], bool(label))
        return cut_for_training(pixels, mask, self._plan, self._side, rng)


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


def _part(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Cut out a random part of at most `side` pixels per side."""
    height, width = (min(side, length) for length in pixels.shape[:2])
    top, left = (
        int(rng.integers(0, length - part + 1)) for length, part in zip(pixels.shape[:2], (height, width), strict=True)
    )
    return pixels[top : top + height, left : left + width]

"""Fit the residual filters: linear discriminants of photos and their reconstructions, in closed form.

Gradient descent would find such faint directions only after very long training; the covariance matrix yields them
directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.residuals import FEATURES, PROFILES, ResidualFilters, residual_features
from hidascan.errors import RecipeError
from hidascan.geometry import ViewPlan
from hidascan.image.views import cut_views
from hidascan.lab.data.degradations import Degradation
from hidascan.lab.data.tables import tables_sha256
from hidascan.lab.hidanet.pairs import GENERATED, Pairs, makers_of
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.training.artifacts import fingerprint, load_artifact, save_artifact

_BANDS = 4  # of compression
_WINDOW = 7  # cells: half a patch
_FOR_STATISTICS = 60  # pairs for the standardisation of features
_LEAST = 1e-3  # added to spreads: some features hardly vary

STRENGTHS = slice(PROFILES - 9, PROFILES)  # features that are passed through unchanged


def filter_count(makers: int) -> int:
    """Return the number of filters fitted to pairs of `makers` makers; network.residual_filters must equal it."""
    return 3 * (_BANDS + 1) + 9 + (makers if makers > 1 else 0)


@dataclass
class Moments:
    """Moments of the features of windows.

    Attributes:
        count: Number of windows.
        sum: (F,) sum over windows.
        squares: (F, F) sum of outer products.
        shifts: (F,) twice the sum of copies minus photos.
    """

    count: int
    sum: Tensor
    squares: Tensor
    shifts: Tensor

    @classmethod
    def empty(cls, size: int) -> Moments:
        """Return the moments of no windows, for `size` features."""
        return cls(0, torch.zeros(size), torch.zeros(size, size), torch.zeros(size))

    @classmethod
    def total(cls, parts: list[Moments]) -> Moments:
        """Add up at least one set of moments."""
        first, *rest = parts
        whole = cls(first.count, first.sum.clone(), first.squares.clone(), first.shifts.clone())
        for part in rest:
            whole.count += part.count
            for mine, other in ((whole.sum, part.sum), (whole.squares, part.squares), (whole.shifts, part.shifts)):
                mine += other
        return whole

    def add(self, photo: Tensor, copy: Tensor) -> None:
        """Add windows (n, F) of photos and of their copies."""
        both = torch.cat([photo, copy])
        self.count += len(both)
        self.sum += both.sum(0)
        self.squares += both.T @ both
        self.shifts += 2 * (copy - photo).sum(0)

    @property
    def mean(self) -> Tensor:
        """Mean over all windows, (F,)."""
        return self.sum / self.count

    @property
    def shift(self) -> Tensor:
        """Mean of copies minus mean of photos, (F,)."""
        return self.shifts / self.count

    def covariance(self) -> Tensor:
        """Return the covariance of windows, (F, F)."""
        return self.squares / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Statistics:
    """Statistics to which filters are fitted.

    Attributes:
        mean: (F,) mean of cells.
        spread: (F,) standard deviation of cells.
        moments: Moments by band of compression and maker.
    """

    mean: Tensor
    spread: Tensor
    moments: dict[tuple[int, str], Moments]

    def add(self, key: tuple[int, str], photo: Tensor, copy: Tensor) -> None:
        """Add windows (n, F) of a pair."""
        self.moments.setdefault(key, Moments.empty(len(self.mean))).add(photo, copy)


def residual_filters(recipe: HiDANetRecipe, cache: Path) -> ResidualFilters:
    """Fit or read the residual filters of a recipe, from the pairs in `cache`."""
    spec, path = recipe.localiser.pairs, cache / "residual_filters.safetensors"
    drawn = [spec.counts, spec.seed, spec.side, spec.group_power, spec.resize, spec.held_out_fold]
    degraded = [spec.degradations, spec.filter, spec.saves, spec.jpeg_quality]
    made = [recipe.seed, drawn, degraded, makers_of(recipe), recipe.autoencoders, tables_sha256(recipe.data.tables)]
    made_by = fingerprint(what="residual filters", made=made, ridge=recipe.localiser.ridge)
    found = load_artifact(path, made_by)
    if found is None:
        found = fit_residual_filters(
            measure_statistics(Pairs(recipe, cache / "pairs")), recipe.localiser.ridge
        ).state_dict()
        save_artifact(path, found, made_by)
    filters = ResidualFilters(found["filters"].shape[1])
    filters.load_state_dict(found)
    if filters.filters.shape[1] != recipe.network.residual_filters:
        raise RecipeError(f"network: residual_filters must be {filters.filters.shape[1]}, as many as are fitted")
    return filters


def measure_statistics(pairs: Pairs) -> Statistics:
    """Measure pairs, each with its first degradation."""
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    sides = [side for number in chosen for side in pairs[number][:2]]
    cells = torch.cat([residual_features(_patches_of(side)[0]).flatten(0, 2) for side in sides])
    standard = ResidualFilters(0)
    standard.mean.copy_(cells.mean(0))
    standard.spread.copy_(cells.std(0) + _LEAST)
    statistics = Statistics(standard.mean, standard.spread, {})
    for number, maker in enumerate(tqdm(pairs.makers, desc="statistics of pairs", disable=None)):
        photo, copy, degradation = pairs[number]
        windows = (_windows(standard.standard(*_patches_of(side))) for side in (photo, copy))
        statistics.add((_band(degradation), maker), *windows)
    return statistics


def _patches_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut (H, W, 3) uint8 into patches (K, 3, 224, 224) uint8; return them and their corners (K, 2)."""
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    corners = torch.tensor([[box.top, box.left] for box in views.boxes])
    return torch.from_numpy(np.stack(views.pixels)).permute(0, 3, 1, 2), corners


def _without(statistics: Statistics, maker: str) -> Statistics:
    moments = {key: part for key, part in statistics.moments.items() if key[1] != maker}
    return Statistics(statistics.mean, statistics.spread, moments)


def _by_maker(statistics: Statistics) -> list[Moments]:
    makers = sorted({maker for _, maker in statistics.moments})
    return [Moments.total([part for (_, by), part in statistics.moments.items() if by == maker]) for maker in makers]


def fit_residual_filters(statistics: Statistics, ridge: float, without: str = "") -> ResidualFilters:
    """Fit filters to pairs.

    w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance within the classes: one each for
    the phase profiles, the co-occurrences, and both, per band of compression and for all bands; one per maker, on both;
    and the strengths unchanged. Pairs with generated images are used only for the filter of that maker, as their content
    differs.

    Args:
        statistics: Statistics of the pairs.
        ridge: Regularisation, for standardised features.
        without: Maker whose pairs are ignored.
    """
    statistics = _without(statistics, without)
    matched = [(band, part) for (band, by), part in statistics.moments.items() if by != GENERATED]
    by_band = [[part for at, part in matched if at == band] for band in range(_BANDS)]
    bands = [Moments.total(parts) if parts else None for parts in by_band]
    known = [band for band in bands if band]
    overall, shift, mean = (
        sum(values) / len(known) for values in zip(*((b.covariance(), b.shift, b.mean) for b in known), strict=True)
    )
    targets = [((band.covariance() + overall) / 2, band.shift) if band else (overall, shift) for band in bands]
    targets.append((overall, shift))
    kinds = (slice(0, PROFILES), slice(PROFILES, FEATURES), slice(0, FEATURES))
    columns = [_discriminant(within, between, kind, ridge) for kind in kinds for within, between in targets]
    each = _by_maker(statistics)
    if len(each) > 1:
        columns += [_discriminant(overall, one.shift, kinds[-1], ridge) for one in each]
    weights = torch.cat([torch.stack(columns, dim=1), torch.eye(FEATURES)[:, STRENGTHS]], dim=1)
    return _filled(statistics, weights, overall, mean)


def _filled(statistics: Statistics, weights: Tensor, within: Tensor, mean: Tensor) -> ResidualFilters:
    """Set filters to `weights`, scaled so that the outputs have mean 0 and standard deviation 1."""
    weights = weights / ((weights * (within @ weights)).sum(0) + 1e-6).sqrt()
    filters = ResidualFilters(weights.shape[1])
    parts = {"mean": statistics.mean, "spread": statistics.spread, "filters": weights, "offset": mean @ weights}
    filters.load_state_dict(parts)
    return filters


def _discriminant(covariance: Tensor, shift: Tensor, kind: slice, ridge: float) -> Tensor:
    """Fit one filter (F,), zero outside the features `kind`."""
    weights = torch.zeros(len(shift))
    regular = covariance[kind, kind].double() + ridge * torch.eye(len(shift[kind])).double()
    weights[kind] = torch.linalg.solve(regular, shift[kind].double()).float()
    return weights


def _band(degradation: Degradation) -> int:
    """Return the band of compression: 0 without a save, else 1..3 by the lowest JPEG quality, from light to heavy."""
    if not degradation.saves:
        return 0
    lowest = min(save.quality for save in degradation.saves)
    return 1 if lowest >= 93 else 2 if lowest >= 84 else 3


def _windows(features: Tensor) -> Tensor:
    """Average (B, 14, 14, FEATURES) over the quarters of views: (4 B, FEATURES)."""
    blocks = features.unflatten(2, (-1, _WINDOW)).unflatten(1, (-1, _WINDOW))
    return blocks.mean((2, 4)).flatten(0, 2)

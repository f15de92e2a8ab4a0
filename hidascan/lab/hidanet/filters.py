"""Fit the residual filters: linear discriminants of photos and their reconstructions, in closed form.

Gradient descent would find such faint directions only after very long training; the covariance matrix yields them
directly.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.filters import FEATURES, PROFILES, ResidualFilters, residual_features
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


@dataclass(frozen=True)
class Moments:
    """Moments of the features of windows, which can be added up.

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
    def of(cls, photo: Tensor, copy: Tensor) -> Moments:
        """Return the moments of windows (n, F) of photos and of their copies."""
        both = torch.cat([photo, copy])
        return cls(len(both), both.sum(0), both.T @ both, 2 * (copy - photo).sum(0))

    def __add__(self, other: Moments) -> Moments:
        pairs = ((self.sum, other.sum), (self.squares, other.squares), (self.shifts, other.shifts))
        return Moments(self.count + other.count, *(mine + theirs for mine, theirs in pairs))

    @property
    def mean(self) -> Tensor:
        """Mean over all windows, (F,)."""
        return self.sum / self.count

    @property
    def shift(self) -> Tensor:
        """Mean of copies minus mean of photos, (F,)."""
        return self.shifts / self.count

    @property
    def covariance(self) -> Tensor:
        """Covariance of windows, (F, F)."""
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


def residual_filters(recipe: HiDANetRecipe, cache: Path) -> ResidualFilters:
    """Fit or read the residual filters of a recipe, from the pairs in `cache`."""
    spec, path = recipe.localiser.pairs, cache / "residual_filters.safetensors"
    drawn = [spec.counts, spec.seed, spec.side, spec.group_power, spec.resize, spec.held_out_fold]
    degraded = [spec.filter, spec.saves, spec.jpeg_quality]
    made = [recipe.seed, drawn, degraded, makers_of(recipe), recipe.autoencoders, tables_sha256(recipe.data.tables)]
    made_by = fingerprint(what="residual filters", made=made, ridge=recipe.localiser.ridge)
    found = load_artifact(path, made_by)
    if found is None:
        statistics = measure_statistics(Pairs(recipe, cache / "pairs"))
        found = fit_residual_filters(statistics, recipe.localiser.ridge).state_dict()
        save_artifact(path, found, made_by)
    filters = ResidualFilters(found["filters"].shape[1])
    filters.load_state_dict(found)
    if filters.filters.shape[1] != recipe.network.residual_filters:
        raise RecipeError(f"network: residual_filters must be {filters.filters.shape[1]}, as many as are fitted")
    return filters


def measure_statistics(pairs: Pairs) -> Statistics:
    """Measure pairs."""
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    sides = [side for number in chosen for side in pairs[number][:2]]
    cells = torch.cat([residual_features(_patches_of(side)[0]).flatten(0, 2) for side in sides])
    standard = ResidualFilters(0)
    standard.mean.copy_(cells.mean(0))
    standard.spread.copy_(cells.std(0) + _LEAST)
    moments: dict[tuple[int, str], Moments] = {}
    for number, maker in enumerate(tqdm(pairs.makers, desc="statistics of pairs", disable=None)):
        photo, copy, degradation = pairs[number]
        part = Moments.of(*(_windows(standard.standard(*_patches_of(side))) for side in (photo, copy)))
        key = _band(degradation), maker
        moments[key] = moments[key] + part if key in moments else part
    return Statistics(standard.mean, standard.spread, moments)


def _patches_of(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Cut (H, W, 3) uint8 into patches (K, 3, 224, 224) uint8; return them and their corners (K, 2)."""
    views = cut_views(pixels, ViewPlan(thumbnail=False))
    corners = torch.tensor([[box.top, box.left] for box in views.boxes])
    return torch.from_numpy(np.stack(views.pixels)).permute(0, 3, 1, 2), corners


def fit_residual_filters(statistics: Statistics, ridge: float) -> ResidualFilters:
    """Fit filters to pairs, with a regularisation `ridge` for standardised features.

    w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance within the classes: one each for
    the phase profiles, the co-occurrences, and both, per band of compression and for all bands; one per maker, on both;
    and the strengths unchanged. Pairs with generated images are used only for the filter of that maker, as their content
    differs.
    """
    matched = [(band, part) for (band, by), part in statistics.moments.items() if by != GENERATED]
    bands = [_total([part for at, part in matched if at == band]) for band in range(_BANDS)]
    known = [(band.covariance, band.shift, band.mean) for band in bands if band]
    overall, shift, mean = (sum(values) / len(known) for values in zip(*known, strict=True))
    targets = [((band.covariance + overall) / 2, band.shift) if band else (overall, shift) for band in bands]
    targets.append((overall, shift))
    kinds = (slice(0, PROFILES), slice(PROFILES, FEATURES), slice(0, FEATURES))
    columns = [_discriminant(within, between, kind, ridge) for kind in kinds for within, between in targets]
    makers = sorted({maker for _, maker in statistics.moments})
    if len(makers) > 1:
        each = [_total([part for (_, by), part in statistics.moments.items() if by == maker]) for maker in makers]
        columns += [_discriminant(overall, one.shift, kinds[-1], ridge) for one in each if one]
    weights = torch.cat([torch.stack(columns, dim=1), torch.eye(FEATURES)[:, STRENGTHS]], dim=1)
    return _filled(statistics, weights, overall, mean)


def _total(parts: list[Moments]) -> Moments | None:
    return reduce(operator.add, parts) if parts else None


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

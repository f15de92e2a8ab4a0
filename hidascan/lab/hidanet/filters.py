"""Fit the filters of residuals: linear discriminants of photos and their reconstructions, in closed form.

Descent finds such faint directions only after a very long time; a covariance matrix shows them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.residuals import FEATURES, PROFILES, ResidualFilters, residual_features
from hidascan.errors import RecipeError
from hidascan.lab.data.degradations import Degradation
from hidascan.lab.hidanet.pairs import Pairs
from hidascan.lab.hidanet.residual_features import patches_of

_BANDS = 4  # of compression
_WINDOW = 7  # cells: half a patch
_FOR_STATISTICS = 60  # pairs
STRENGTHS = slice(PROFILES - 9, PROFILES)  # features that are kept as they are


def filter_count(makers: int) -> int:
    """Return how many filters are fitted to copies by so many autoencoders; network.residual_filters must agree."""
    return 3 * (_BANDS + 1) + 9 + (makers if makers > 1 else 0)


@dataclass
class _Moments:
    """Of the features of windows in one band of compression: sums over windows, and over copies minus photos."""

    count: int
    sum: Tensor
    squares: Tensor
    shifts: Tensor

    @classmethod
    def empty(cls) -> _Moments:
        """Start with nothing."""
        return cls(0, torch.zeros(FEATURES), torch.zeros(FEATURES, FEATURES), torch.zeros(FEATURES))

    def add(self, photo: Tensor, copy: Tensor) -> None:
        """Add windows (n, FEATURES) of both."""
        both = torch.cat([photo, copy])
        self.count += len(both)
        self.sum += both.sum(0)
        self.squares += both.T @ both
        self.shifts += 2 * (copy - photo).sum(0)

    @property
    def mean(self) -> Tensor:
        """Over all windows."""
        return self.sum / self.count

    @property
    def shift(self) -> Tensor:
        """Mean of copies minus mean of photos."""
        return self.shifts / self.count

    def covariance(self) -> Tensor:
        """Compute the covariance of windows."""
        return self.squares / self.count - torch.outer(self.mean, self.mean)


def fit_filters(filters: ResidualFilters, pairs: Pairs, ridge: float) -> None:
    """Fit `filters` to pairs.

    w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance within the classes, for each band of
    compression and for all, of the phase profiles, the co-occurrences, and both; for each autoencoder, of both; and
    the strengths as they are.

    Raises:
        RecipeError: If `filters` has room for another number of them.
    """
    makers = 1 + max(pairs.maker(number) for number in range(len(pairs)))
    if filters.filters.shape[1] != filter_count(makers):
        raise RecipeError(
            f"network.residual_filters must be {filter_count(makers)}, the number of filters that are fitted"
        )
    _measure_features(filters, pairs)
    bands, by_maker = _moments(filters, pairs, makers)
    known = [band for band in bands if band.count]
    overall, shift, mean = (
        sum(values) / len(known) for values in zip(*((b.covariance(), b.shift, b.mean) for b in known), strict=True)
    )
    targets = [((b.covariance() + overall) / 2, b.shift) if b.count else (overall, shift) for b in bands]
    targets.append((overall, shift))
    kinds = (slice(0, PROFILES), slice(PROFILES, FEATURES), slice(0, FEATURES))
    columns = [_discriminant(within, between, kind, ridge) for kind in kinds for within, between in targets]
    columns += [_discriminant(overall, shift, kinds[-1], ridge) for shift in by_maker if makers > 1]
    weights = torch.cat([torch.stack(columns, dim=1), torch.eye(FEATURES)[:, STRENGTHS]], dim=1)
    weights /= ((weights * (overall @ weights)).sum(0) + 1e-6).sqrt()
    filters.filters.copy_(weights)
    filters.offset.copy_(mean @ weights)


def _discriminant(covariance: Tensor, shift: Tensor, kind: slice, ridge: float) -> Tensor:
    """Fit one filter (FEATURES,), zero outside of `kind`."""
    weights = torch.zeros(FEATURES)
    regular = covariance[kind, kind].double() + ridge * torch.eye(len(shift[kind])).double()
    weights[kind] = torch.linalg.solve(regular, shift[kind].double()).float()
    return weights


def _measure_features(filters: ResidualFilters, pairs: Pairs) -> None:
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    cells = torch.cat([residual_features(patches_of(side)[0]).flatten(0, 2) for n in chosen for side in pairs[n][:2]])
    filters.mean.copy_(cells.mean(0))
    filters.spread.copy_(cells.std(0) + 1e-3)


def _moments(filters: ResidualFilters, pairs: Pairs, makers: int) -> tuple[list[_Moments], Tensor]:
    """Return moments by band, and mean of copies minus mean of photos by autoencoder (makers, FEATURES)."""
    bands = [_Moments.empty() for _ in range(_BANDS)]
    shifts, counts = torch.zeros(makers, FEATURES), torch.zeros(makers, 1)
    for number in tqdm(range(len(pairs)), desc="filters", disable=None):
        photo, copy, degradation = pairs[number]
        windows = [_windows(filters.standard(*patches_of(side))) for side in (photo, copy)]
        bands[_band(degradation)].add(*windows)
        shifts[pairs.maker(number)] += (windows[1] - windows[0]).mean(0)
        counts[pairs.maker(number)] += 1
    return bands, shifts / counts.clamp(min=1)


def _band(degradation: Degradation) -> int:
    """Return 0 for what was never saved; 1..3 by the lowest JPEG quality of its saves, from light to heavy."""
    if not degradation.saves:
        return 0
    lowest = min(save.quality for save in degradation.saves)
    return 1 if lowest >= 93 else 2 if lowest >= 84 else 3


def _windows(features: Tensor) -> Tensor:
    """Average (B, 14, 14, FEATURES) over the quarters of views into (4 B, FEATURES)."""
    blocks = features.unflatten(2, (-1, _WINDOW)).unflatten(1, (-1, _WINDOW))
    return blocks.mean((2, 4)).flatten(0, 2)

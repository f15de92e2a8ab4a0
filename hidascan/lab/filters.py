"""Fits the filters of the detail path: linear discriminants of photos and their reconstructions, in closed form.

Descent finds such faint directions only after a very long time; a covariance matrix shows them at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.errors import RecipeError
from hidascan.lab.degrade import Delivery
from hidascan.lab.pairs import Pairs
from hidascan.lab.traces import views_of
from hidascan.model.detail import FEATURES, PROFILES, DetailStem

_BANDS = 4  # of compression
_WINDOW = 7  # cells: half a patch
_FOR_STATISTICS = 60  # pairs
STRENGTHS = slice(PROFILES - 9, PROFILES)  # features that are kept as they are


def traces_of(makers: int) -> int:
    """Number of filters that are fitted to copies by so many autoencoders; network.traces must say the same."""
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
        return cls(0, torch.zeros(FEATURES), torch.zeros(FEATURES, FEATURES), torch.zeros(FEATURES))

    def add(self, photo: Tensor, copy: Tensor) -> None:
        """Windows (n, FEATURES) of both."""
        both = torch.cat([photo, copy])
        self.count += len(both)
        self.sum += both.sum(0)
        self.squares += both.T @ both
        self.shifts += 2 * (copy - photo).sum(0)

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count

    @property
    def shift(self) -> Tensor:
        """Mean of copies minus mean of photos."""
        return self.shifts / self.count

    def covariance(self) -> Tensor:
        return self.squares / self.count - torch.outer(self.mean, self.mean)


def fit_filters(stem: DetailStem, pairs: Pairs, ridge: float) -> None:
    """Set all of `stem`: w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance within the classes,
    for each band of compression and for all, of the phase profiles, the co-occurrences, and both; for each
    autoencoder, of both; and the strengths as they are. Raises RecipeError if `stem` has room for another number of
    filters."""
    makers = 1 + max(pairs.maker(number) for number in range(len(pairs)))
    if stem.filters.shape[1] != traces_of(makers):
        raise RecipeError(f"network.traces must be {traces_of(makers)}, the number of filters that are fitted")
    _measure_features(stem, pairs)
    bands, by_maker = _moments(stem, pairs, makers)
    known = [band for band in bands if band.count]
    overall, shift, mean = (
        sum(values) / len(known) for values in zip(*((b.covariance(), b.shift, b.mean) for b in known), strict=True)
    )
    targets = [((b.covariance() + overall) / 2, b.shift) if b.count else (overall, shift) for b in bands]
    targets.append((overall, shift))
    kinds = (slice(0, PROFILES), slice(PROFILES, FEATURES), slice(0, FEATURES))
    columns = [_discriminant(*target, kind, ridge) for kind in kinds for target in targets]
    columns += [_discriminant(overall, shift, kinds[-1], ridge) for shift in by_maker if makers > 1]
    filters = torch.cat([torch.stack(columns, dim=1), torch.eye(FEATURES)[:, STRENGTHS]], dim=1)
    filters /= ((filters * (overall @ filters)).sum(0) + 1e-6).sqrt()
    stem.filters.copy_(filters)
    stem.offset.copy_(mean @ filters)


def _discriminant(covariance: Tensor, shift: Tensor, kind: slice, ridge: float) -> Tensor:
    """(FEATURES,), zero outside of `kind`"""
    found = torch.zeros(FEATURES)
    regular = covariance[kind, kind].double() + ridge * torch.eye(len(shift[kind])).double()
    found[kind] = torch.linalg.solve(regular, shift[kind].double()).float()
    return found


def _measure_features(stem: DetailStem, pairs: Pairs) -> None:
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    found = [stem.features(views_of(side)[0]).flatten(0, 2) for n in chosen for side in pairs[n][:2]]
    cells = torch.cat(found)
    stem.mean.copy_(cells.mean(0))
    stem.spread.copy_(cells.std(0) + 1e-3)


def _moments(stem: DetailStem, pairs: Pairs, makers: int) -> tuple[list[_Moments], Tensor]:
    """-> moments by band, and mean of copies minus mean of photos by autoencoder (makers, FEATURES)."""
    bands = [_Moments.empty() for _ in range(_BANDS)]
    shifts, counts = torch.zeros(makers, FEATURES), torch.zeros(makers, 1)
    for number in tqdm(range(len(pairs)), desc="filters", disable=None):
        photo, copy, delivery = pairs[number]
        windows = [_windows(stem.standard(*views_of(side))) for side in (photo, copy)]
        bands[_band(delivery)].add(*windows)
        shifts[pairs.maker(number)] += (windows[1] - windows[0]).mean(0)
        counts[pairs.maker(number)] += 1
    return bands, shifts / counts.clamp(min=1)


def _band(delivery: Delivery) -> int:
    """0: never saved; 1..3: by the lowest JPEG quality of its saves, from light to heavy."""
    if not delivery.saves:
        return 0
    lowest = min(save.quality for save in delivery.saves)
    return 1 if lowest >= 93 else 2 if lowest >= 84 else 3


def _windows(features: Tensor) -> Tensor:
    """(B, 14, 14, FEATURES) -> (4 B, FEATURES), means over the quarters of views."""
    blocks = features.unflatten(2, (-1, _WINDOW)).unflatten(1, (-1, _WINDOW))
    return blocks.mean((2, 4)).flatten(0, 2)

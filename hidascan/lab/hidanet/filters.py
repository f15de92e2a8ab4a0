"""Fit the filters of residuals: linear discriminants of photos and their reconstructions, in closed form.

Descent finds such faint directions only after a very long time; a covariance matrix shows them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.backbones.frozen import FrozenViT
from hidascan.detectors.hidanet.residuals import FEATURES, PROFILES, ResidualFilters, residual_features
from hidascan.detectors.hidanet.token_filters import TokenFilters
from hidascan.lab.data.degradations import Degradation
from hidascan.lab.hidanet.cells import CellFilters, patches_of, tokens_of
from hidascan.lab.hidanet.pairs import GENERATED, Pairs

_BANDS = 4  # of compression
_WINDOW = 7  # cells: half a patch
_FOR_STATISTICS = 60  # pairs whose cells say how features are standardised
_FOR_TOKENS = 360  # pairs, about, whose tokens are measured; makers take turns, so even steps may pass some of them by
_LEAST = 1e-3  # added to spreads: some features hardly vary
Filters = TypeVar("Filters", ResidualFilters, TokenFilters)

STRENGTHS = slice(PROFILES - 9, PROFILES)  # features that are kept as they are


def filter_count(makers: int) -> int:
    """Return how many filters are fitted to pairs of so many makers; network.residual_filters must agree."""
    return 3 * (_BANDS + 1) + 9 + (makers if makers > 1 else 0)


@dataclass
class Moments:
    """Of the features of windows: sums over windows, and over second sides minus photos."""

    count: int
    sum: Tensor
    squares: Tensor
    shifts: Tensor

    @classmethod
    def empty(cls, size: int) -> Moments:
        """Start with nothing."""
        return cls(0, torch.zeros(size), torch.zeros(size, size), torch.zeros(size))

    @classmethod
    def total(cls, parts: list[Moments]) -> Moments:
        """Add up; there must be one."""
        first, *rest = parts
        whole = cls(first.count, first.sum.clone(), first.squares.clone(), first.shifts.clone())
        for part in rest:
            whole.count += part.count
            for mine, other in ((whole.sum, part.sum), (whole.squares, part.squares), (whole.shifts, part.shifts)):
                mine += other
        return whole

    def add(self, photo: Tensor, copy: Tensor) -> None:
        """Add windows (n, features) of both."""
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
        """Mean of second sides minus mean of photos."""
        return self.shifts / self.count

    def covariance(self) -> Tensor:
        """Compute the covariance of windows."""
        return self.squares / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Statistics:
    """All that filters of one kind are fitted to.

    Attributes:
        mean: (F,) of cells.
        spread: (F,) of cells.
        moments: By band of compression and maker.
    """

    mean: Tensor
    spread: Tensor
    moments: dict[tuple[int, str], Moments]

    def add(self, key: tuple[int, str], photo: Tensor, copy: Tensor) -> None:
        """Add windows (n, F) of a pair."""
        self.moments.setdefault(key, Moments.empty(len(self.mean))).add(photo, copy)


@dataclass(frozen=True)
class PairStatistics:
    """Of pixel residuals, and of patch tokens where TFL sees these."""

    residuals: Statistics
    tokens: Statistics | None


def measure_statistics(pairs: Pairs, backbone: FrozenViT | None, taps: Sequence[int]) -> PairStatistics:
    """Measure pairs, each in the first way in which it is degraded; the tokens, which cost more, of some of them."""
    chosen = range(0, len(pairs), max(1, len(pairs) // _FOR_STATISTICS))
    sides = [side for number in chosen for side in pairs[number][:2]]
    cells = torch.cat([residual_features(patches_of(side)[0]).flatten(0, 2) for side in sides])
    standard = ResidualFilters(0)
    standard.mean.copy_(cells.mean(0))
    standard.spread.copy_(cells.std(0) + _LEAST)
    residuals, tokens = Statistics(standard.mean, standard.spread, {}), None
    step = max(1, len(pairs.makers) // _FOR_TOKENS)
    if backbone is not None:
        seen = torch.cat([tokens_of(backbone, taps, side).flatten(0, 2) for side in sides[: 2 * _FOR_STATISTICS]])
        tokens = Statistics(seen.mean(0), seen.std(0) + _LEAST, {})
        standard_tokens = TokenFilters(len(tokens.mean), 0)
        standard_tokens.mean.copy_(tokens.mean)
        standard_tokens.spread.copy_(tokens.spread)
    for number, maker in enumerate(tqdm(pairs.makers, desc="statistics of pairs", disable=None)):
        photo, copy, degradation = pairs[number]
        residuals.add(
            (_band(degradation), maker), *(_windows(standard.standard(*patches_of(side))) for side in (photo, copy))
        )
        if tokens is not None and backbone is not None and number % step == 0:
            both = (standard_tokens.standardised(tokens_of(backbone, taps, side)) for side in (photo, copy))
            tokens.add((0, maker), *(part.flatten(0, 2) for part in both))
    return PairStatistics(residuals, tokens)


def fit_filters(statistics: PairStatistics, ridge: float, without: str = "") -> CellFilters:
    """Fit filters to pairs.

    w = (C + ridge I)^-1 (mean of copies - mean of photos), C the covariance within the classes. Of pixel residuals: for
    each band of compression and for all, of the phase profiles, the co-occurrences, and both; for each maker, of both;
    and the strengths as they are. Of tokens: for all makers, and for each. Only the filter of their own sees photos
    beside generated images: these show other things.

    Args:
        statistics: Of the pairs.
        ridge: On standardised features.
        without: A maker whose pairs are left out.
    """
    tokens = statistics.tokens and _without(statistics.tokens, without)
    return CellFilters(
        _fit_residual_filters(_without(statistics.residuals, without), ridge),
        None if tokens is None else _fit_token_filters(tokens, ridge),
    )


def _without(statistics: Statistics, maker: str) -> Statistics:
    moments = {key: part for key, part in statistics.moments.items() if key[1] != maker}
    return Statistics(statistics.mean, statistics.spread, moments)


def _by_maker(statistics: Statistics) -> list[Moments]:
    makers = sorted({maker for _, maker in statistics.moments})
    return [Moments.total([part for (_, by), part in statistics.moments.items() if by == maker]) for maker in makers]


def _fit_residual_filters(statistics: Statistics, ridge: float) -> ResidualFilters:
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
    return _filled(ResidualFilters(weights.shape[1]), statistics, weights, overall, mean)


def _fit_token_filters(statistics: Statistics, ridge: float) -> TokenFilters:
    matched = Moments.total([part for (_, by), part in statistics.moments.items() if by != GENERATED])
    within, size = matched.covariance(), slice(0, len(matched.sum))
    shifts = [matched.shift, *(one.shift for one in _by_maker(statistics))]
    weights = torch.stack([_discriminant(within, shift, size, ridge) for shift in shifts], dim=1)
    return _filled(TokenFilters(len(weights), weights.shape[1]), statistics, weights, within, matched.mean)


def _filled(filters: Filters, statistics: Statistics, weights: Tensor, within: Tensor, mean: Tensor) -> Filters:
    """Set filters to `weights`, scaled so that each gives numbers of a standard deviation of 1 around 0."""
    weights = weights / ((weights * (within @ weights)).sum(0) + 1e-6).sqrt()
    parts = {"mean": statistics.mean, "spread": statistics.spread, "filters": weights, "offset": mean @ weights}
    filters.load_state_dict(parts)
    return filters


def _discriminant(covariance: Tensor, shift: Tensor, kind: slice, ridge: float) -> Tensor:
    """Fit one filter (F,), zero outside of `kind`."""
    weights = torch.zeros(len(shift))
    regular = covariance[kind, kind].double() + ridge * torch.eye(len(shift[kind])).double()
    weights[kind] = torch.linalg.solve(regular, shift[kind].double()).float()
    return weights


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

"""Fit the linear probe: weighted ridge regression on the frozen [CLS] tokens of the cached samples."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from hidascan.detectors.hidanet.linear_probe import LinearProbe
from hidascan.errors import RecipeError
from hidascan.lab.hidanet.features import ClsTokens, FeatureCache
from hidascan.lab.hidanet.recipe import HiDANetRecipe


def probe_samples(recipe: HiDANetRecipe, cache: Path) -> list[ClsTokens]:
    """Read the [CLS] tokens of each round of the recipe."""
    return [FeatureCache(cache / part.name).cls_tokens() for part in recipe.rounds]


def fit_probe(recipe: HiDANetRecipe, parts: list[ClsTokens], probe: LinearProbe, without: Collection[str] = ()) -> None:
    """Set weights and biases of a probe; taps that no regression wants get weights of zero.

    Regressions on the thumbnail and on the mean over the patches; the sum of both, the latter pooled by
    `LinearProbe.pool`, is what adds to the logit.

    Args:
        recipe: Names the regressions.
        parts: The samples of each round.
        probe: What is fitted.
        without: Groups whose samples are left out.
    """
    parts = [part.only(~part.holding(without)) for part in parts]
    labels = torch.cat([part.labels for part in parts])
    rounds = [torch.full((len(p.labels),), r.probe_weight) for p, r in zip(parts, recipe.rounds, strict=True)]
    weights, target = _balanced(torch.cat(rounds), labels), labels.float() * 2 - 1
    probe.weight.zero_()
    probe.bias.zero_()
    spec = recipe.probe
    scales = [2 * share * spec.scale for share in (spec.local_share, 1 - spec.local_share)]
    probe.sharpness.fill_(spec.sharpness / (scales[0] or 1))
    for regression in spec.regressions:
        wanted = _places(regression.taps, recipe.network.taps)
        for row, (kind, scale) in enumerate(zip(("means", "thumbnails"), scales, strict=True)):
            features = [getattr(part, kind)[:, wanted].flatten(1) for part in parts]
            pairs = zip(features, parts, strict=True)
            shifts = torch.cat([degradation_shifts(rows, part.composites) for rows, part in pairs])
            slope, bias = ridge(torch.cat(features), target, weights, shifts, regression.ridge, spec.stability)
            share = scale / len(spec.regressions)
            by_tap = probe.weight[row].view(len(recipe.network.taps), -1)
            by_tap[wanted] += (slope * share).view(len(wanted), -1).to(by_tap)
            probe.bias[row] += bias * share


def _places(taps: tuple[int, ...], known: tuple[int, ...]) -> list[int]:
    """Return where `taps` stand among those of the network."""
    if not set(taps) <= set(known):
        raise RecipeError(f"the probe's taps {taps} are not among the taps {known}")
    return [known.index(tap) for tap in taps or known]


def degradation_shifts(features: Tensor, composites: Tensor) -> Tensor:
    """Return (P, F), what changed between one degraded copy of a composite (S,) and its next in features (S, F)."""
    order = torch.argsort(composites, stable=True)
    same = composites[order][1:] == composites[order][:-1]
    return (features[order][1:] - features[order][:-1])[same]


def _balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """Scale weights (S,) so that both classes weigh half of S."""
    shares = torch.where(labels == 1, weights[labels == 1].sum(), weights[labels == 0].sum())
    return weights / shares * len(labels) / 2


def ridge(
    features: Tensor, target: Tensor, weights: Tensor, shifts: Tensor, penalty: float, stability: float
) -> tuple[Tensor, Tensor]:
    """Fit a ridge regression that also pays for every direction in which a degradation moves the features.

    (C + penalty I + stability D) slope = X^T y, D the covariance of shifts, penalised as if features were standardised.

    Args:
        features: (S, F).
        target: (S,).
        weights: (S,).
        shifts: (P, F).
        penalty: On the slope.
        stability: On movement along the shifts.

    Returns:
        Slope (F,) and bias () on features as they are.
    """
    mean = (features * weights[:, None]).sum(0) / weights.sum()
    centred = (features - mean) * weights[:, None].sqrt()
    spread = (centred.square().sum(0) / weights.sum()).sqrt() + 1e-3
    centred, shifts = centred / spread, shifts / spread
    size = features.shape[1]
    covariance = (centred.T @ centred / size).double()
    if len(shifts):
        covariance += stability * (shifts.T @ shifts / size * (len(features) / len(shifts))).double()
    slope = torch.linalg.solve(
        covariance + penalty * torch.eye(size).double(), (centred.T @ (target * weights.sqrt()) / size).double()
    )
    slope = slope.float() / spread
    return slope, -(mean * slope).sum()

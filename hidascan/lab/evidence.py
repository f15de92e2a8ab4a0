"""Fits the linear evidence: weighted ridge regression on the frozen [CLS] tokens of the cached samples."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from hidascan.errors import RecipeError
from hidascan.lab.cache import ClsTokens, FeatureCache
from hidascan.lab.recipe import Recipe
from hidascan.model.heads import LinearEvidence


def evidence_samples(recipe: Recipe, cache: Path) -> list[ClsTokens]:
    """The [CLS] tokens of each round of the recipe."""
    return [FeatureCache(cache / part.name).cls_tokens() for part in recipe.rounds]


def fit_evidence(
    recipe: Recipe, parts: list[ClsTokens], evidence: LinearEvidence, without: Collection[str] = ()
) -> None:
    """Set weights and biases of `evidence` from the samples of all rounds but those with an image of the groups
    `without`; taps that no regression wants get weights of zero.

    Regressions on the thumbnail and on the mean over the patches; the sum of both, the latter pooled by
    `LinearEvidence.pool`, is what adds to the logit.
    """
    parts = [part.only(~part.holding(without)) for part in parts]
    labels = torch.cat([part.labels for part in parts])
    rounds = [torch.full((len(p.labels),), r.evidence_weight) for p, r in zip(parts, recipe.rounds, strict=True)]
    weights, target = _balanced(torch.cat(rounds), labels), labels.float() * 2 - 1
    evidence.weight.zero_()
    evidence.bias.zero_()
    scales = [
        2 * share * recipe.evidence.scale for share in (recipe.evidence.local_share, 1 - recipe.evidence.local_share)
    ]
    evidence.sharpness.fill_(recipe.evidence.sharpness / (scales[0] or 1))
    for regression in recipe.evidence.regressions:
        wanted = _places(regression.taps, recipe.network.taps)
        for row, (kind, scale) in enumerate(zip(("means", "thumbnails"), scales, strict=True)):
            features = [getattr(part, kind)[:, wanted].flatten(1) for part in parts]
            shifts = torch.cat([delivery_shifts(f, part.canvases) for f, part in zip(features, parts, strict=True)])
            penalties = (regression.ridge, recipe.evidence.stability)
            slope, bias = ridge(torch.cat(features), target, weights, shifts, *penalties)
            share = scale / len(recipe.evidence.regressions)
            by_tap = evidence.weight[row].view(len(recipe.network.taps), -1)
            by_tap[wanted] += (slope * share).view(len(wanted), -1).to(by_tap)
            evidence.bias[row] += bias * share


def _places(taps: tuple[int, ...], known: tuple[int, ...]) -> list[int]:
    """Where `taps` stand among those of the network."""
    if not set(taps) <= set(known):
        raise RecipeError(f"evidence taps {taps} are not among the taps {known}")
    return [known.index(tap) for tap in taps or known]


def delivery_shifts(features: Tensor, canvases: Tensor) -> Tensor:
    """features (S, F), canvases (S,) -> (P, F), what changed between one delivery of a canvas and its next."""
    order = torch.argsort(canvases, stable=True)
    same = canvases[order][1:] == canvases[order][:-1]
    return (features[order][1:] - features[order][:-1])[same]


def _balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """(S,) weights with which both classes weigh half of S."""
    shares = torch.where(labels == 1, weights[labels == 1].sum(), weights[labels == 0].sum())
    return weights / shares * len(labels) / 2


def ridge(
    features: Tensor, target: Tensor, weights: Tensor, shifts: Tensor, penalty: float, stability: float
) -> tuple[Tensor, Tensor]:
    """Ridge regression that also pays for every direction in which a delivery moves the features.

    features (S, F), target (S,), weights (S,), shifts (P, F) -> slope (F,) and bias () on features as they are,
    penalised as if they were standardised: (C + penalty I + stability D) slope = X^T y, D the covariance of shifts.
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

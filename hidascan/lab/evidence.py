"""Fits the linear evidence: weighted ridge regression on the frozen [CLS] tokens of the cached samples."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hidascan.errors import RecipeError
from hidascan.lab.cache import FeatureCache
from hidascan.lab.recipe import Recipe
from hidascan.model.heads import LinearEvidence


def fit_evidence(recipe: Recipe, cache: Path, evidence: LinearEvidence) -> None:
    """Set weights and biases of `evidence` from all rounds in `cache`; taps that are not wanted get weights of zero.

    One regression on the thumbnail and one on the mean over the patches; the sum of both is what adds to the logit.
    """
    taps = recipe.evidence.taps or recipe.network.taps
    if not set(taps) <= set(recipe.network.taps):
        raise RecipeError(f"evidence taps {taps} are not among the taps {recipe.network.taps}")
    wanted = [recipe.network.taps.index(tap) for tap in taps]
    parts = [FeatureCache(cache / part.name).cls_tokens() for part in recipe.rounds]
    thumbnails, means, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    rounds = [torch.full((len(p[2]),), r.evidence_weight) for p, r in zip(parts, recipe.rounds, strict=True)]
    weights, target = _balanced(torch.cat(rounds), labels), labels.float() * 2 - 1
    evidence.weight.zero_()
    for row, features in enumerate((means, thumbnails)):
        slope, bias = _ridge(features[:, wanted].flatten(1), target, weights, recipe.evidence.ridge)
        by_tap = evidence.weight[row].view(len(recipe.network.taps), -1)
        by_tap[wanted] = (slope * recipe.evidence.scale).view(len(wanted), -1).to(by_tap)
        evidence.bias[row] = bias * recipe.evidence.scale


def _balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """(S,) weights with which both classes weigh half of S."""
    shares = torch.where(labels == 1, weights[labels == 1].sum(), weights[labels == 0].sum())
    return weights / shares * len(labels) / 2


def _ridge(features: Tensor, target: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """features (S, F), target (S,), weights (S,) -> slope (F,) and bias () on features as they are, penalised as if
    they were standardised."""
    mean = (features * weights[:, None]).sum(0) / weights.sum()
    centred = (features - mean) * weights[:, None].sqrt()
    spread = (centred.square().sum(0) / weights.sum()).sqrt() + 1e-3
    centred = centred / spread
    size = features.shape[1]
    covariance = (centred.T @ centred / size).double()
    slope = torch.linalg.solve(
        covariance + ridge * torch.eye(size).double(), (centred.T @ (target * weights.sqrt()) / size).double()
    )
    slope = slope.float() / spread
    return slope, -(mean * slope).sum()

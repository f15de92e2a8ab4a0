"""Fit the kernel probe: principal components, landmarks, and ridge regressions, all in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, KernelProbe, Projection, Summary
from hidascan.lab.hidanet.recipe import HiDANetRecipe, KernelSpec

_JITTER = 1e-2  # added to the diagonal among landmarks: copies of one image are nearly identical


@dataclass(frozen=True)
class PooledSamples:
    """Input of the kernel probe for S samples, before projection, and their labels.

    Attributes:
        thumbnail: (S, T * C) frozen [CLS] tokens of the thumbnails.
        patches: (S, T * C) tokens averaged over the patches.
        residuals: (S, FEATURES) residual features averaged over the patches.
        labels: (S,) 0 for real, 1 for AI.
        weights: (S,) weights in the fit.
        qualities: (S,) JPEG qualities 1..100, NaN if unknown.
        domains: (S,) indices into DOMAINS, -1 for others.
        families: (S,) indices into FAMILIES, -1 for others.
    """

    thumbnail: Tensor
    patches: Tensor
    residuals: Tensor
    labels: Tensor
    weights: Tensor
    qualities: Tensor
    domains: Tensor
    families: Tensor

    def only(self, mask: Tensor) -> PooledSamples:
        """Return the samples for which mask (S,) bool is true."""
        return PooledSamples(*(getattr(self, name)[mask] for name in self.__annotations__))


def fit_kernel_probe(samples: PooledSamples, recipe: HiDANetRecipe) -> KernelProbe:
    """Fit a kernel probe to samples, with equal weight of both classes in the verdict.

    With kernel values K between samples and landmarks, Z among landmarks, weights W and targets y, each output solves
    (K^T W K + penalty Z) c = K^T W (y - mean y): kernel ridge regression in the span of the landmarks ("Less is More:
    Nystroem Computational Regularization", NeurIPS 2015).
    """
    network, spec = recipe.network, recipe.kernel
    probe = KernelProbe(samples.thumbnail.shape[1], network.components, network.landmarks)
    weights = _balanced(samples.weights, samples.labels)
    _fit_projections(probe, samples, weights, spec)
    seen = summarise(probe, samples)
    chosen = _landmarks(weights, network.landmarks, spec.seed)
    probe.set_landmarks(thumbnail=seen.thumbnail[chosen], patches=seen.patches[chosen])
    values, among = probe.token_kernel(seen), probe.token_kernel(probe.landmarks)
    target = samples.labels.float() * 2 - 1
    probe.coefficients[0], probe.offsets[0] = _ridge(values, among, weights, target, spec.penalty)
    _fit_kinds(probe, samples, values, among, spec.kind_penalty)
    return probe


def _fit_projections(probe: KernelProbe, samples: PooledSamples, weights: Tensor, spec: KernelSpec) -> None:
    both = torch.cat([samples.thumbnail, samples.patches])
    importance = torch.ones(both.shape[1])
    if spec.tap_weights:
        importance = torch.tensor(spec.tap_weights).repeat_interleave(len(importance) // len(spec.tap_weights))
    _fit_projection(probe.tokens, both, torch.cat([weights, weights]), importance, spec.emphasis)
    probe.share.copy_(torch.tensor(spec.share))
    probe.gamma.fill_(spec.gamma)


def _fit_kinds(probe: KernelProbe, samples: PooledSamples, values: Tensor, among: Tensor, penalty: float) -> None:
    """Fit domains and families, each against the other known ones."""
    for first, numbers in ((1, samples.domains), (1 + len(DOMAINS), samples.families)):
        known = numbers >= 0
        kinds = numbers[known].unique().tolist()
        targets = torch.stack([(numbers[known] == kind).float() for kind in kinds], dim=1) if kinds else None
        if targets is not None:
            rows = [first + kind for kind in kinds]
            equal = torch.ones(len(targets))
            coefficients, offsets = _ridge(values[known], among, equal, targets, penalty)
            probe.coefficients[rows], probe.offsets[rows] = coefficients.T, offsets


def summarise(probe: KernelProbe, samples: PooledSamples) -> Summary:
    """Project pooled samples."""
    return Summary(probe.tokens(samples.thumbnail), probe.tokens(samples.patches))


def _balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """Scale weights (S,) so that those of each class sum to S / 2."""
    shares = torch.where(labels == 1, weights[labels == 1].sum(), weights[labels == 0].sum())
    return weights / shares * len(labels) / 2


def _fit_projection(
    projection: Projection, features: Tensor, weights: Tensor, importance: Tensor, emphasis: float
) -> None:
    """Fit a projection: mean and spread of features, and their first principal components.

    Args:
        projection: Projection to fit.
        features: (n, F) features.
        weights: (n,) weights of the samples.
        importance: (F,) factors of the standardised features.
        emphasis: Exponent of the variance by which each component is scaled; positive values emphasise large ones. All
            are then scaled so that the mean squared distance of samples is 1.
    """
    features = features.float()
    share = (weights / weights.sum())[:, None]
    projection.mean.copy_((features * share).sum(0))
    projection.scale.copy_(((features - projection.mean).square() * share).sum(0).sqrt().clamp_min(1e-5))
    standard = projection.standard(features) * importance
    vectors = torch.zeros(
        projection.basis.shape
    )  # remaining columns are zero if there are fewer samples than components
    _, _, found = randomized_svd((standard * share.sqrt()).numpy(), vectors.shape[1], random_state=0)
    vectors[:, : len(found)] = torch.from_numpy(found.T.copy())
    variances = ((standard @ vectors).square() * share).sum(0)
    scales = variances.clamp_min(1e-4 * float(variances.max())) ** emphasis
    scales = scales / (2 * (variances * scales.square()).sum()).sqrt()
    projection.project_on(importance[:, None] * vectors * scales)


def _landmarks(weights: Tensor, count: int, seed: int) -> Tensor:
    """Draw samples with probabilities proportional to their weights, without repetition if there are enough."""
    draw, again = torch.Generator().manual_seed(seed), count > len(weights)
    return torch.multinomial(weights, count, replacement=again, generator=draw).sort().values


def _ridge(values: Tensor, among: Tensor, weights: Tensor, target: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Solve for the coefficients of a kernel and its offset.

    Args:
        values: (S, M) kernel values between samples and landmarks.
        among: (M, M) kernel values among landmarks.
        weights: (S,) weights of the samples.
        target: (S,) targets, or (S, T) for several outputs.
        penalty: Factor of the squared norm of the fitted function.

    Returns:
        Coefficients (M,) and offset (), or (M, T) and (T,).
    """
    columns = target if target.dim() == 2 else target[:, None]
    offset = (weights[:, None] * columns).sum(0) / weights.sum()
    weighted = (values * weights[:, None]).T
    jitter = _JITTER * torch.eye(len(among), dtype=torch.float64)
    left = (weighted @ values).double() + penalty * (among.double() + jitter)
    solved = torch.linalg.solve(left, (weighted @ (columns - offset)).double()).float()
    return (solved, offset) if target.dim() == 2 else (solved[:, 0], offset[0])

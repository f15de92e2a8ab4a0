"""Fit the kernel probe: principal components, landmarks, and ridge regressions, all in closed form."""

from __future__ import annotations

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, KernelProbe, Projection, Summary
from hidascan.lab.hidanet.recipe import HiDANetRecipe, KernelSpec
from hidascan.lab.hidanet.samples import Samples

_JITTER = 1e-2  # added to the diagonal among landmarks: copies of one image are nearly identical


def fit_kernel_probe(samples: Samples, recipe: HiDANetRecipe) -> KernelProbe:
    """Fit a kernel probe to samples, with equal weight of both classes in the verdict.

    With kernel values K between samples and landmarks, Z among landmarks, weights W and targets y, each output solves
    (K^T W K + penalty Z) c = K^T W (y - mean y): kernel ridge regression in the span of the landmarks ("Less is More:
    Nystroem Computational Regularization", NeurIPS 2015).
    """
    network, spec = recipe.network, recipe.kernel
    weights = torch.where(samples.as_published, 1.0, spec.delivered)
    samples, weights = samples.only(weights > 0), weights[weights > 0]
    probe = KernelProbe(samples.thumbnail.shape[1], network.components, network.landmarks)
    weights = _balanced(weights, samples.labels)
    _fit_projection(probe.tokens, samples, weights, spec)
    probe.share.copy_(torch.tensor(spec.share))
    probe.gamma.fill_(spec.gamma)
    seen = summarise(probe, samples)
    chosen = _landmarks(weights, network.landmarks, spec.seed)
    probe.set_landmarks(thumbnail=seen.thumbnail[chosen], patches=seen.patches[chosen])
    values, among = probe.token_kernel(seen), probe.token_kernel(probe.landmarks)
    target = samples.labels.float()[:, None] * 2 - 1
    coefficients, offsets = _ridge(values, among, weights, target, spec.penalty)
    probe.coefficients[0], probe.offsets[0] = coefficients[:, 0], offsets[0]
    _fit_kinds(probe, samples, values, among, spec.kind_penalty)
    return probe


def _fit_kinds(probe: KernelProbe, samples: Samples, values: Tensor, among: Tensor, penalty: float) -> None:
    """Fit domains and families, each against the other known ones."""
    for first, numbers in ((1, samples.domains), (1 + len(DOMAINS), samples.families)):
        known = numbers >= 0
        kinds = numbers[known].unique().tolist()
        if kinds:
            targets = torch.stack([(numbers[known] == kind).float() for kind in kinds], dim=1)
            coefficients, offsets = _ridge(values[known], among, torch.ones(len(targets)), targets, penalty)
            rows = [first + kind for kind in kinds]
            probe.coefficients[rows], probe.offsets[rows] = coefficients.T, offsets


def summarise(probe: KernelProbe, samples: Samples) -> Summary:
    """Project the tokens of samples."""
    return Summary(probe.tokens(samples.thumbnail), probe.tokens(samples.patches))


def _balanced(weights: Tensor, labels: Tensor) -> Tensor:
    """Scale weights (S,) so that those of each class sum to S / 2."""
    shares = torch.where(labels == 1, weights[labels == 1].sum(), weights[labels == 0].sum())
    return weights / shares * len(labels) / 2


def _fit_projection(projection: Projection, samples: Samples, weights: Tensor, spec: KernelSpec) -> None:
    """Fit mean and spread of the tokens of thumbnails and patches, and their first principal components.

    Components are scaled by their variance to the power `spec.emphasis`, so that positive values emphasise large ones;
    then all alike, so that the mean squared distance of samples is 1.
    """
    features = torch.cat([samples.thumbnail, samples.patches]).float()
    importance = torch.ones(features.shape[1])
    if spec.tap_weights:
        importance = torch.tensor(spec.tap_weights).repeat_interleave(len(importance) // len(spec.tap_weights))
    weights = torch.cat([weights, weights])
    share = (weights / weights.sum())[:, None]
    projection.mean.copy_((features * share).sum(0))
    projection.scale.copy_(((features - projection.mean).square() * share).sum(0).sqrt().clamp_min(1e-5))
    standard = projection.standard(features) * importance
    vectors = torch.zeros(projection.basis.shape)  # of fewer samples than components, the last columns stay zero
    _, _, found = randomized_svd((standard * share.sqrt()).numpy(), vectors.shape[1], random_state=0)
    vectors[:, : len(found)] = torch.from_numpy(found.T.copy())
    variances = ((standard @ vectors).square() * share).sum(0)
    scales = variances.clamp_min(1e-4 * float(variances.max())) ** spec.emphasis
    scales = scales / (2 * (variances * scales.square()).sum()).sqrt()
    projection.project_on(importance[:, None] * vectors * scales)


def _landmarks(weights: Tensor, count: int, seed: int) -> Tensor:
    """Draw samples with probabilities proportional to their weights, without repetition if there are enough."""
    draw, again = torch.Generator().manual_seed(seed), count > len(weights)
    return torch.multinomial(weights, count, replacement=again, generator=draw).sort().values


def _ridge(values: Tensor, among: Tensor, weights: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Solve for the coefficients (M, T) of a kernel and its offsets (T,).

    Args:
        values: (S, M) kernel values between samples and landmarks.
        among: (M, M) kernel values among landmarks.
        weights: (S,) weights of the samples.
        targets: (S, T) targets of T outputs.
        penalty: Factor of the squared norm of the fitted function.
    """
    offsets = (weights[:, None] * targets).sum(0) / weights.sum()
    weighted = (values * weights[:, None]).T
    jitter = _JITTER * torch.eye(len(among), dtype=torch.float64)
    left = (weighted @ values).double() + penalty * (among.double() + jitter)
    return torch.linalg.solve(left, (weighted @ (targets - offsets)).double()).float(), offsets

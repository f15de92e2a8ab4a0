"""Fit both votes of a verdict, and predict every sample by voters fitted without its source.

The kernel probe is fitted in closed form: principal components, landmarks, and ridge regressions. FAM is trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.detectors.hidanet.heads import FusionHead
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Predictions, ProbeInput, Projection
from hidascan.errors import RecipeError
from hidascan.lab.hidanet.recipe import HiDANetRecipe, KernelSpec
from hidascan.lab.hidanet.samples import VerdictFeatures
from hidascan.lab.measure.metrics import source_weights
from hidascan.lab.training.losses import Losses, classification_loss
from hidascan.lab.training.trainer import fit

_JITTER = 1e-2  # added to the diagonal among landmarks: copies of one image are nearly identical


def fit_kernel_probe(samples: VerdictFeatures, recipe: HiDANetRecipe) -> KernelProbe:
    """Fit a kernel probe to samples, with equal weight of both classes in the verdict.

    With kernel values K between samples and landmarks, Z among landmarks, weights W and targets y, each output solves
    (K^T W K + penalty Z) c = K^T W (y - mean y): kernel ridge regression in the span of the landmarks ("Less is More:
    Nystroem Computational Regularization", NeurIPS 2015).
    """
    network, spec = recipe.network, recipe.kernel
    weights = torch.where(samples.as_published, 1.0, spec.delivered).where(~samples.hard, 0.0)
    samples, weights = samples.only(weights > 0), weights[weights > 0]
    probe = KernelProbe(samples.thumbnail.shape[1], network.components, network.landmarks)
    ai = samples.labels == 1
    weights = weights / torch.where(ai, weights[ai].sum(), weights[~ai].sum()) * len(ai) / 2  # S / 2 in each class
    _fit_projection(probe.tokens, samples, weights, spec)
    probe.share.copy_(torch.tensor(spec.share))
    probe.gamma.fill_(spec.gamma)
    seen = probe_input(probe, samples)
    # Drawn with probabilities proportional to weights, without repetition if there are enough samples.
    draw = torch.Generator().manual_seed(spec.seed)
    again = network.landmarks > len(weights)
    chosen = torch.multinomial(weights, network.landmarks, replacement=again, generator=draw).sort().values
    probe.set_landmarks(thumbnail=seen.thumbnail[chosen], patches=seen.patches[chosen])
    values, among = probe.kernel_values(seen), probe.kernel_values(probe.landmarks)
    target = samples.labels.float()[:, None] * 2 - 1
    coefficients, offsets = _ridge(values, among, weights, target, spec.penalty)
    probe.coefficients[0], probe.offsets[0] = coefficients[:, 0], offsets[0]
    _fit_kinds(probe, samples, values, among, spec.kind_penalty)
    return probe


def _fit_kinds(probe: KernelProbe, samples: VerdictFeatures, values: Tensor, among: Tensor, penalty: float) -> None:
    """Fit domains and families, each against the other known ones."""
    for first, numbers in ((1, samples.domains), (1 + len(DOMAINS), samples.families)):
        known = numbers >= 0
        kinds = numbers[known].unique().tolist()
        if kinds:
            targets = torch.stack([(numbers[known] == kind).float() for kind in kinds], dim=1)
            coefficients, offsets = _ridge(values[known], among, torch.ones(len(targets)), targets, penalty)
            rows = [first + kind for kind in kinds]
            probe.coefficients[rows], probe.offsets[rows] = coefficients.T, offsets


def probe_input(probe: KernelProbe, samples: VerdictFeatures) -> ProbeInput:
    """Return the input of a probe: the projected tokens of samples."""
    return ProbeInput(probe.tokens(samples.thumbnail), probe.tokens(samples.patches))


def _fit_projection(projection: Projection, samples: VerdictFeatures, weights: Tensor, spec: KernelSpec) -> None:
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
    standard = projection.standardise(features) * importance
    vectors = torch.zeros(projection.basis.shape)  # of fewer samples than components, the last columns stay zero
    _, _, found = randomized_svd((standard * share.sqrt()).numpy(), vectors.shape[1], random_state=0)
    vectors[:, : len(found)] = torch.from_numpy(found.T.copy())
    variances = ((standard @ vectors).square() * share).sum(0)
    scales = variances.clamp_min(1e-4 * float(variances.max())) ** spec.emphasis
    scales = scales / (2 * (variances * scales.square()).sum()).sqrt()
    projection.set_basis(importance[:, None] * vectors * scales)


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


@dataclass(frozen=True)
class ViewTokens:
    """Standardised [CLS] tokens of S samples."""

    thumbnail: Tensor  # (S, F) float16 tokens of the thumbnails
    patches: Tensor  # (S, K, F) float16 tokens of the patches, padded with zeros
    padding: Tensor  # (S, K) bool, true at positions without a patch

    @classmethod
    def of(cls, probe: KernelProbe, samples: VerdictFeatures) -> ViewTokens:
        """Standardise the tokens of samples like a probe, and pad their patches."""
        views = [probe.tokens.standardise(one).half() for one in samples.views]
        counts = torch.tensor([len(one) - 1 for one in views])
        patches = nn.utils.rnn.pad_sequence([one[1:] for one in views], batch_first=True)
        return cls(torch.stack([one[0] for one in views]), patches, torch.arange(patches.shape[1]) >= counts[:, None])

    def only(self, chosen: Tensor, alone: Tensor) -> ViewTokens:
        """Return the samples with these numbers (n,); mask all patches but the first where alone (n,) is true."""
        padding = self.padding[chosen]
        padding[alone, 1:] = True
        return ViewTokens(self.thumbnail[chosen], self.patches[chosen], padding)

    def logits(self, head: FusionHead) -> Tensor:
        """Return the logits (S,) of a head."""
        samples, patches = self.padding.shape
        is_thumbnail = torch.ones(samples, dtype=torch.bool)
        f_global = head.embed(self.thumbnail.float(), is_thumbnail)
        local = head.embed(self.patches.float().flatten(0, 1), ~is_thumbnail.repeat_interleave(patches))
        return head(f_global, local.unflatten(0, (samples, patches)), self.padding)


def train_fusion(views: ViewTokens, samples: VerdictFeatures, recipe: HiDANetRecipe) -> FusionHead:
    """Train FAM and its classifier on the views of samples, which fit into memory."""
    spec, network = recipe.fusion, recipe.network
    names = [f"{image.source} {image.group}" for image in samples.images]
    weights = (
        torch.from_numpy(source_weights(samples.labels.numpy(), names)).float().sqrt()
    )  # a source of n weighs sqrt(n) in all
    torch.manual_seed(spec.seed)
    head = FusionHead(views.thumbnail.shape[1], network.dim, network.heads, spec.dropout, spec.input_dropout)
    truth = samples.labels.float()
    ai_share = float(((weights * truth).sum() / weights.sum()).clamp(0.01, 0.99))  # a class may be missing

    def losses(chosen: Tensor) -> Losses:
        logits = views.only(chosen, torch.rand(len(chosen)) < spec.thinned).logits(head)
        return {"cls": classification_loss(logits, truth[chosen], ai_share, spec.label_smoothing, weights[chosen])}

    return fit(head, spec, len(truth), losses)


@dataclass(frozen=True)
class Voters:
    """Kernel probe and FAM, fitted to the same samples; the logit is that of the probe plus `vote` times FAM's."""

    probe: KernelProbe
    fusion: FusionHead | None  # FAM and classifier; None if their vote is 0
    vote: float  # weight of FAM's logit

    @torch.no_grad()
    def predict(self, samples: VerdictFeatures) -> Predictions:
        """Predict S samples."""
        predictions = self.probe(probe_input(self.probe, samples))
        if self.fusion is None:
            return predictions
        logits = ViewTokens.of(self.probe, samples).logits(self.fusion)
        return predictions._replace(logits=predictions.logits + self.vote * logits)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of S samples out of fold."""

    samples: VerdictFeatures  # without hard copies, which would not be representative
    predictions: Predictions  # predictions, each by voters fitted without the source of the sample
    voters: dict[int, Voters]  # voters by the fold that they were fitted without


def fit_voters(samples: VerdictFeatures, recipe: HiDANetRecipe) -> Voters:
    """Fit both voters to samples; RecipeError if `kernel.tap_weights` are not one number for each tap."""
    if len(recipe.kernel.tap_weights) not in (0, len(recipe.network.taps)):
        raise RecipeError(
            f"kernel.tap_weights must be {len(recipe.network.taps)} numbers, one for each of network.taps"
        )
    probe = fit_kernel_probe(samples, recipe)
    fusion = train_fusion(ViewTokens.of(probe, samples), samples, recipe) if recipe.fusion.vote else None
    return Voters(probe, fusion, recipe.fusion.vote)


def predict_out_of_fold(
    samples: VerdictFeatures, recipe: HiDANetRecipe, included: Tensor | None = None, folds: Iterable[int] | None = None
) -> OutOfFold:
    """Predict samples by cross-validation over sources; samples outside `folds` get a logit of 0.

    `included` (S,) bool is true for samples to fit to; None for all, as for `folds`.
    """
    chosen = samples.folds.unique().tolist() if folds is None else list(folds)
    fitted = torch.ones_like(samples.as_published) if included is None else included
    voters = {}
    for fold in tqdm(chosen, desc="folds", disable=None):
        voters[fold] = fit_voters(samples.only(fitted & (samples.folds != fold)), recipe)
    measured = samples.only(~samples.hard)
    return OutOfFold(measured, predict_by_fold(voters, measured), voters)


def predict_by_fold(voters: dict[int, Voters], samples: VerdictFeatures) -> Predictions:
    """Predict samples, each by the voters fitted without its fold."""
    count = len(samples.images)
    predictions = Predictions(torch.zeros(count), torch.zeros(count, len(DOMAINS)), torch.zeros(count, len(FAMILIES)))
    for fold, both in voters.items():
        here = samples.folds == fold
        if here.any():
            for whole, part in zip(predictions, both.predict(samples.only(here)), strict=True):
                whole[here] = part
    return predictions

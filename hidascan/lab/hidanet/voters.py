"""Fit both votes of a verdict, the kernel probe and FAM, and predict every sample by voters fitted without its source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hidascan.detectors.hidanet.heads import FusionHead
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Predictions
from hidascan.lab.hidanet.kernel_probe import fit_kernel_probe, summarise
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.samples import Samples
from hidascan.lab.training.losses import Losses, classification_loss
from hidascan.lab.training.trainer import fit


@dataclass(frozen=True)
class Views:
    """Standardised [CLS] tokens of S samples.

    Attributes:
        thumbnail: (S, F) float16 tokens of the thumbnails.
        patches: (S, K, F) float16 tokens of the patches, padded with zeros.
        padding: (S, K) bool, true at positions without a patch.
    """

    thumbnail: Tensor
    patches: Tensor
    padding: Tensor

    @classmethod
    def of(cls, probe: KernelProbe, samples: Samples) -> Views:
        """Standardise the tokens of samples like a probe, and pad their patches."""
        views = [probe.tokens.standard(one).half() for one in samples.views]
        counts = torch.tensor([len(one) - 1 for one in views])
        patches = nn.utils.rnn.pad_sequence([one[1:] for one in views], batch_first=True)
        return cls(torch.stack([one[0] for one in views]), patches, torch.arange(patches.shape[1]) >= counts[:, None])

    def only(self, chosen: Tensor) -> Views:
        """Return the samples with these numbers (n,), or for which a mask (S,) is true."""
        return Views(self.thumbnail[chosen], self.patches[chosen], self.padding[chosen])

    def thin(self, alone: Tensor) -> Views:
        """Mask all patches but the first of the samples for which alone (S,) is true."""
        padding = self.padding.clone()
        padding[alone, 1:] = True
        return Views(self.thumbnail, self.patches, padding)

    def logits(self, head: FusionHead) -> Tensor:
        """Return the logits (S,) of a head."""
        samples, patches = self.padding.shape
        is_thumbnail = torch.ones(samples, dtype=torch.bool)
        f_global = head.embed(self.thumbnail.float(), is_thumbnail)
        local = head.embed(self.patches.float().flatten(0, 1), ~is_thumbnail.repeat_interleave(patches))
        return head(f_global, local.unflatten(0, (samples, patches)), self.padding)


def train_fusion(views: Views, samples: Samples, recipe: HiDANetRecipe) -> FusionHead:
    """Train FAM and its classifier on the views of samples, which fit into memory."""
    spec, network, weights = recipe.fusion, recipe.network, samples.source_weights()
    torch.manual_seed(spec.seed)
    head = FusionHead(views.thumbnail.shape[1], network.dim, network.heads, spec.dropout, spec.hidden)
    truth = samples.labels.float()
    ai_share = float(((weights * truth).sum() / weights.sum()).clamp(0.01, 0.99))  # a class may be missing

    def losses(chosen: Tensor) -> Losses:
        logits = views.only(chosen).thin(torch.rand(len(chosen)) < spec.thinned).logits(head)
        return {"cls": classification_loss(logits, truth[chosen], ai_share, spec.label_smoothing, weights[chosen])}

    return fit(head, spec, len(truth), losses)


@dataclass(frozen=True)
class Voters:
    """Kernel probe and FAM, fitted to the same samples; the logit is that of the probe plus `vote` times FAM's.

    Attributes:
        probe: Kernel probe.
        fusion: FAM and classifier; None if their vote is 0.
        vote: Weight of FAM's logit.
    """

    probe: KernelProbe
    fusion: FusionHead | None
    vote: float

    @torch.no_grad()
    def predict(self, samples: Samples) -> Predictions:
        """Predict S samples."""
        predictions = self.probe(summarise(self.probe, samples))
        if self.fusion is None:
            return predictions
        logits = Views.of(self.probe, samples).logits(self.fusion)
        return predictions._replace(logits=predictions.logits + self.vote * logits)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of S samples out of fold.

    Attributes:
        predictions: Predictions, each by voters fitted without the source of the sample.
        voters: Voters by the fold that they were fitted without.
    """

    predictions: Predictions
    voters: dict[int, Voters]


def fit_voters(samples: Samples, recipe: HiDANetRecipe) -> Voters:
    """Fit both voters to samples."""
    probe = fit_kernel_probe(samples, recipe)
    fusion = train_fusion(Views.of(probe, samples), samples, recipe) if recipe.fusion.vote else None
    return Voters(probe, fusion, recipe.fusion.vote)


def predict_out_of_fold(
    samples: Samples, recipe: HiDANetRecipe, included: Tensor | None = None, folds: Iterable[int] | None = None
) -> OutOfFold:
    """Predict samples by cross-validation over sources.

    Args:
        samples: Samples of all folds.
        recipe: Recipe of the voters.
        included: (S,) bool, true for samples to fit to; None for all.
        folds: Folds whose samples are predicted, the others keep logits of 0; None for all.
    """
    chosen = samples.folds.unique().tolist() if folds is None else list(folds)
    fitted = torch.ones_like(samples.as_published) if included is None else included
    voters = {}
    for fold in tqdm(chosen, desc="folds", disable=None):
        voters[fold] = fit_voters(samples.only(fitted & (samples.folds != fold)), recipe)
    return OutOfFold(predict_by_fold(voters, samples), voters)


def predict_by_fold(voters: dict[int, Voters], samples: Samples) -> Predictions:
    """Predict samples, each by the voters fitted without its fold."""
    count = len(samples.images)
    predictions = Predictions(torch.zeros(count), torch.zeros(count, len(DOMAINS)), torch.zeros(count, len(FAMILIES)))
    for fold, both in voters.items():
        here = samples.folds == fold
        if here.any():
            for whole, part in zip(predictions, both.predict(samples.only(here)), strict=True):
                whole[here] = part
    return predictions

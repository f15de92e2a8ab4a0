"""Fit both votes of a verdict, and predict every sample by voters fitted without its source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.fusion import FusionHead
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Predictions
from hidascan.lab.hidanet.fusion import Views, train_fusion
from hidascan.lab.hidanet.kernel_probe import summarise
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe


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
    def predict(self, samples: ProbeSamples) -> Predictions:
        """Predict S samples."""
        predictions = self.probe(summarise(self.probe, samples.pooled))
        if self.fusion is None:
            return predictions
        logits = standard_views(self.probe, samples).logits(self.fusion)
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


def standard_views(probe: KernelProbe, samples: ProbeSamples) -> Views:
    """Standardise the [CLS] tokens of all views of samples like a probe."""
    return Views.of([probe.tokens.standard(one).half() for one in samples.views])


def fit_voters(
    samples: ProbeSamples, recipe: HiDANetRecipe, included: Tensor | None = None, without: int | None = None
) -> Voters:
    """Fit both voters to the samples of included (S,) bool that are not in the fold `without`."""
    seen = torch.ones_like(samples.as_published) if included is None else included
    mask = seen if without is None else seen & (samples.folds != without)
    probe, chosen = samples.fit(recipe, mask), samples.only(mask)
    if recipe.fusion.vote == 0:
        return Voters(probe, None, 0.0)
    fusion = train_fusion(
        standard_views(probe, chosen), chosen.pooled.labels, chosen.source_weights(), recipe.network, recipe.fusion
    )
    return Voters(probe, fusion, recipe.fusion.vote)


def predict_out_of_fold(
    samples: ProbeSamples, recipe: HiDANetRecipe, included: Tensor | None = None, folds: Iterable[int] | None = None
) -> OutOfFold:
    """Predict samples by cross-validation over sources.

    Args:
        samples: Samples of all folds.
        recipe: Recipe of the voters.
        included: (S,) bool, true for samples to fit to; None for all.
        folds: Folds whose samples are predicted, the others keep logits of 0; None for all.
    """
    chosen = samples.folds.unique().tolist() if folds is None else list(folds)
    voters = {
        fold: fit_voters(samples, recipe, included, without=fold) for fold in tqdm(chosen, desc="folds", disable=None)
    }
    return OutOfFold(predict_by_fold(voters, samples), voters)


def predict_by_fold(voters: dict[int, Voters], samples: ProbeSamples) -> Predictions:
    """Predict samples, each by the voters fitted without its fold."""
    count = len(samples.images)
    predictions = Predictions(torch.zeros(count), torch.zeros(count, len(DOMAINS)), torch.zeros(count, len(FAMILIES)))
    for fold, both in voters.items():
        here = samples.folds == fold
        if here.any():
            for whole, part in zip(predictions, both.predict(samples.only(here)), strict=True):
                whole[here] = part
    return predictions

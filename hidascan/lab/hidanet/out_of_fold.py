"""Fit both voters of a verdict, and judge every sample by voters that were fitted without its source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.fusion import FusionHead
from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Said
from hidascan.lab.hidanet.fusion import Views, train_fusion
from hidascan.lab.hidanet.kernel_probe import summarise
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe


@dataclass(frozen=True)
class Voters:
    """Kernel probe and FAM, fitted to the same samples; the logit is that of the probe plus `vote` times FAM's."""

    probe: KernelProbe
    fusion: FusionHead | None  # None where its vote is 0
    vote: float

    @torch.no_grad()
    def judge(self, samples: ProbeSamples) -> Said:
        """Judge S samples."""
        said = self.probe(summarise(self.probe, samples.pooled))
        if self.fusion is None:
            return said
        return said._replace(logits=said.logits + self.vote * standard_views(self.probe, samples).judged(self.fusion))


@dataclass(frozen=True)
class OutOfFold:
    """What voters say of S samples whose sources they never saw; and these voters, by the fold that they never saw."""

    said: Said
    voters: dict[int, Voters]


def standard_views(probe: KernelProbe, samples: ProbeSamples) -> Views:
    """Standardise the [CLS] tokens of all views of samples as a probe does."""
    return Views.of([probe.tokens.standard(one).half() for one in samples.views])


def fit_voters(
    samples: ProbeSamples, recipe: HiDANetRecipe, shown: Tensor | None = None, without: int | None = None
) -> Voters:
    """Fit both voters to the samples for which shown (S,) is true, and that are not of the fold `without`."""
    seen = torch.ones_like(samples.as_is) if shown is None else shown
    mask = seen if without is None else seen & (samples.folds != without)
    probe, chosen = samples.fit(recipe, mask), samples.only(mask)
    if recipe.fusion.vote == 0:
        return Voters(probe, None, 0.0)
    fusion = train_fusion(
        standard_views(probe, chosen), chosen.pooled.labels, chosen.source_weights(), recipe.network, recipe.fusion
    )
    return Voters(probe, fusion, recipe.fusion.vote)


def judge(
    samples: ProbeSamples, recipe: HiDANetRecipe, shown: Tensor | None = None, folds: Iterable[int] | None = None
) -> OutOfFold:
    """Judge samples by cross-validation over sources.

    Args:
        samples: Samples of all folds.
        recipe: Recipe of the voters.
        shown: (S,) bool, the samples that may be fitted to; None for all.
        folds: Folds whose samples are judged, the others keep logits of 0; None for all.
    """
    chosen = samples.folds.unique().tolist() if folds is None else list(folds)
    voters = {
        fold: fit_voters(samples, recipe, shown, without=fold) for fold in tqdm(chosen, desc="folds", disable=None)
    }
    return OutOfFold(judge_by(voters, samples), voters)


def judge_by(voters: dict[int, Voters], samples: ProbeSamples) -> Said:
    """Judge samples, each by the voters that saw nothing of its source."""
    count = len(samples.images)
    said = Said(torch.zeros(count), torch.zeros(count, len(DOMAINS)), torch.zeros(count, len(FAMILIES)))
    for fold, both in voters.items():
        here = samples.folds == fold
        if here.any():
            for whole, part in zip(said, both.judge(samples.only(here)), strict=True):
                whole[here] = part
    return said

"""Judge every sample by a probe that was fitted without its source."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from hidascan.detectors.hidanet.kernel_probe import DOMAINS, FAMILIES, KernelProbe, Said
from hidascan.lab.hidanet.kernel_probe import summarise
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe


@dataclass(frozen=True)
class OutOfFold:
    """What probes say of S samples whose sources they never saw; and these probes, by the fold that they never saw."""

    said: Said
    probes: dict[int, KernelProbe]


def judge(samples: ProbeSamples, recipe: HiDANetRecipe, shown: Tensor | None = None) -> OutOfFold:
    """Judge samples by cross-validation over sources.

    Args:
        samples: All.
        recipe: Of the probe.
        shown: (S,) bool, what may be fitted to; None for all.
    """
    folds = tqdm(samples.folds.unique().tolist(), desc="folds", disable=None)
    probes = {fold: samples.fit(recipe, shown, without=fold) for fold in folds}
    return OutOfFold(judge_by(probes, samples), probes)


def judge_by(probes: dict[int, KernelProbe], samples: ProbeSamples) -> Said:
    """Judge samples, each by the probe that saw nothing of its source."""
    count = len(samples.images)
    said = Said(
        torch.zeros(count), torch.zeros(count), torch.zeros(count, len(DOMAINS)), torch.zeros(count, len(FAMILIES))
    )
    for fold, probe in probes.items():
        here = samples.folds == fold
        if here.any():
            parts = probe(summarise(probe, samples.only(here).pooled))
            for whole, part in zip(said, parts, strict=True):
                whole[here] = part
    return said

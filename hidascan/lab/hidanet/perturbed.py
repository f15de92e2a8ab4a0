"""Judge images under every perturbation by voters that saw nothing of their sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hidascan.image.perturb import PERTURBATIONS, Perturbation
from hidascan.lab.data.tables import spread
from hidascan.lab.hidanet.features import Delivery
from hidascan.lab.hidanet.out_of_fold import OutOfFold, judge_by
from hidascan.lab.hidanet.probe_samples import ProbeSamples, deliver, pooled_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure.calibration import fit_calibration
from hidascan.lab.measure.robustness import UNTOUCHED, Robustness, tabulate

_PATCHES = 1  # of each copy: a scan looks at all


def measure_perturbed(
    recipe: HiDANetRecipe,
    samples: ProbeSamples,
    found: OutOfFold,
    count: int,
    cache: Path,
    device: str,
    dtype: torch.dtype,
) -> Robustness:
    """Judge `count` of the images, spread over all, as they are and under each of PERTURBATIONS."""
    as_is = [image for image, kept in zip(samples.images, samples.as_is.tolist(), strict=True) if kept]
    chosen = spread(sorted(as_is, key=lambda image: (image.source, str(image.path))), count)
    deliveries = [Delivery(UNTOUCHED, _PATCHES), *(_always(name, how) for name, how in PERTURBATIONS.items())]
    folder = cache / f"perturbed-{count}"
    copies = pooled_samples(deliver(recipe, chosen, deliveries, folder, device, dtype), chosen)
    logits = judge_by(found.voters, copies).logits.double().numpy()
    labels, folds, before = samples.pooled.labels.numpy(), samples.folds.numpy(), found.said.logits.double().numpy()
    scores, verdicts = np.zeros(len(logits)), np.full(len(logits), "inconclusive")
    for fold in found.voters:
        others = folds != fold
        rule = fit_calibration(labels[others], before[others], np.zeros(1)).rule("balanced")
        for row in np.flatnonzero(copies.folds.numpy() == fold):
            scores[row] = rule.score(logits[row])
            verdicts[row] = rule.verdict(scores[row])
    truth, shape = copies.pooled.labels.numpy()[:: len(deliveries)], (-1, len(deliveries))
    return tabulate([one.name for one in deliveries], truth, scores.reshape(shape), verdicts.reshape(shape))


def _always(name: str, perturb: Perturbation) -> Delivery:
    return Delivery(name, _PATCHES, lambda rng: perturb)

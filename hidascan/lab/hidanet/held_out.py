"""Hold out a family of generators, or a domain of real images, and measure how well its images are detected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from hidascan.lab.hidanet.out_of_fold import predict_out_of_fold
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, tpr_at_fpr

_LEAST = 10  # minimum number of held-out images
_FOLDS = 2  # folds that are predicted for each value, those with most of its images; each fold needs its own voters


@dataclass(frozen=True)
class HeldOut:
    """Figures of held-out images against the images of the other class in the same folds.

    Attributes:
        name: Family or domain.
        images: Number of held-out images.
        auc: AUC.
        tpr_5: TPR at 5 % FPR.
    """

    name: str
    images: int
    auc: float
    tpr_5: float


def measure_held_out(samples: ProbeSamples, recipe: HiDANetRecipe, column: str) -> list[HeldOut]:
    """Hold out each value of a column, and compare its images with those of the other class.

    Args:
        samples: All samples.
        recipe: Recipe of the voters.
        column: "family" of AI images, or "domain" of real ones.
    """
    values = np.array([getattr(image, column) for image in samples.images])
    label = 1 if column == "family" else 0
    labels, rows = samples.pooled.labels, []
    for value in sorted(set(values) - {""}):
        members = torch.from_numpy(values == value) & (labels == label)
        folds = [fold for fold, _ in Counter(samples.folds[members].tolist()).most_common(_FOLDS)]
        here = samples.as_published & torch.isin(samples.folds, torch.tensor(folds))
        tested, images = here & (members | (labels != label)), int((members & here).sum())
        if images < _LEAST:
            continue
        logits = predict_out_of_fold(samples, recipe, ~members, folds).predictions.logits[tested].numpy()
        truth = labels[tested].numpy()
        rows.append(HeldOut(value, images, auc(truth, logits), tpr_at_fpr(truth, logits, 0.05)))
    return rows


def held_out_as_markdown(rows: list[HeldOut], column: str) -> str:
    """Write the table, the lowest AUC in bold."""
    cells = [[row.name, str(row.images), f"{row.auc:.3f}", f"{row.tpr_5:.3f}"] for row in rows]
    worst = min(range(len(rows)), key=lambda number: rows[number].auc) if rows else None
    return markdown.table([f"{column} held out", "images", "AUC", "TPR at 5 % FPR"], cells, worst)

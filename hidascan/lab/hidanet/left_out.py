"""Leave one family of generators, or one domain of real images, out of the fit, and look for its images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from hidascan.lab.hidanet.out_of_fold import judge
from hidascan.lab.hidanet.probe_samples import ProbeSamples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, tpr_at_fpr

_LEAST = 10  # images of what is left out
_FOLDS = 2  # folds that are judged for each, as every fold needs voters of its own: those with most of its images


@dataclass(frozen=True)
class LeftOut:
    """Images of a family or a domain, found by probes that saw none of it, against all images of the other class."""

    name: str
    images: int
    auc: float
    tpr_5: float


def leave_out(samples: ProbeSamples, recipe: HiDANetRecipe, column: str) -> list[LeftOut]:
    """Leave each value of a column out of the fit, and judge its images among those of the other class.

    Args:
        samples: All samples.
        recipe: Recipe of the voters.
        column: "family" of AI images, or "domain" of real ones.
    """
    values = np.array([getattr(image, column) for image in samples.images])
    label = 1 if column == "family" else 0
    labels, rows = samples.pooled.labels, []
    for value in sorted(set(values) - {""}):
        those = torch.from_numpy(values == value) & (labels == label)
        folds = [fold for fold, _ in Counter(samples.folds[those].tolist()).most_common(_FOLDS)]
        here = samples.as_is & torch.isin(samples.folds, torch.tensor(folds))
        tested, images = here & (those | (labels != label)), int((those & here).sum())
        if images < _LEAST:
            continue
        logits = judge(samples, recipe, ~those, folds).said.logits[tested].numpy()
        truth = labels[tested].numpy()
        rows.append(LeftOut(value, images, auc(truth, logits), tpr_at_fpr(truth, logits, 0.05)))
    return rows


def left_out_as_markdown(rows: list[LeftOut], column: str) -> str:
    """Write the table, the lowest AUC in bold."""
    cells = [[row.name, str(row.images), f"{row.auc:.3f}", f"{row.tpr_5:.3f}"] for row in rows]
    worst = min(range(len(rows)), key=lambda number: rows[number].auc) if rows else None
    return markdown.table([f"{column} left out", "images", "AUC", "TPR at 5 % FPR"], cells, worst)

"""Leave one family out: how well the linear probe finds generators of a family that it was never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hidascan.detectors.hidanet.linear_probe import LinearProbe
from hidascan.lab.data.families import FAMILIES
from hidascan.lab.hidanet.linear_probe import fit_probe, probe_samples
from hidascan.lab.hidanet.recipe import HiDANetRecipe
from hidascan.lab.hidanet.table_features import TableImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, tpr_at_fpr


@dataclass(frozen=True)
class FamilyFigures:
    """Against photos whose sources training never saw: AUC of the probe and of its two parts, TPR at 1 and 5 % FPR.

    `images` are of the family, `left_out` training samples with an image of it.
    """

    family: str
    images: int
    left_out: int
    auc: float
    auc_local: float
    auc_global: float
    tpr_1: float
    tpr_5: float


def leave_one_family_out(
    recipe: HiDANetRecipe, cache: Path, images: list[TableImage], photos: list[TableImage]
) -> list[FamilyFigures]:
    """Fit the probe without each family in turn, and look for its images.

    Args:
        recipe: Of the weights.
        cache: With its features.
        images: Of all kinds, as they are.
        photos: The real ones among these are the negatives.
    """
    parts, rows = probe_samples(recipe, cache), []
    negatives = [image for image in photos if not image.label]
    for family, groups in FAMILIES.items():
        held_out = [image for image in images if image.group in groups]
        if not held_out:
            continue
        probe = LinearProbe(parts[0].means.shape[1], parts[0].means.shape[2])
        fit_probe(recipe, parts, probe, groups)
        labels = np.array([image.label for image in (*held_out, *negatives)])
        local, thumbnail = np.array([_logits(probe, image) for image in (*held_out, *negatives)]).T
        left_out = sum(int(part.holding(groups).sum()) for part in parts)
        figures = [auc(labels, z) for z in (local + thumbnail, local, thumbnail)]
        rates = [tpr_at_fpr(labels, local + thumbnail, rate) for rate in (0.01, 0.05)]
        rows.append(FamilyFigures(family, len(held_out), left_out, *figures, *rates))
    return rows


def _logits(probe: LinearProbe, image: TableImage) -> tuple[float, float]:
    """Return what patches and thumbnail add."""
    is_thumbnail = torch.arange(len(image.cls)) == 0
    local, thumbnail = probe.pool_apart(probe(image.cls, is_thumbnail))
    return float(local), float(thumbnail)


def as_markdown(rows: list[FamilyFigures]) -> str:
    """Write the table, the family with the lowest AUC in bold."""
    worst = min(range(len(rows)), key=lambda number: rows[number].auc)
    head = ["family left out", "images", "samples left out", "AUC", "local", "global", "TPR at 1 %", "TPR at 5 %"]
    cells = []
    for row in rows:
        figures = (row.auc, row.auc_local, row.auc_global, row.tpr_1, row.tpr_5)
        cells.append([row.family, str(row.images), str(row.left_out), *(f"{value:.3f}" for value in figures)])
    return markdown.table(head, cells, worst)

"""Leave one family out: how well the linear evidence finds generators of a family that it was never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hidascan.lab.clean import CleanImage
from hidascan.lab.evidence import evidence_samples, fit_evidence
from hidascan.lab.families import FAMILIES
from hidascan.lab.metrics import auc, tpr_at_fpr
from hidascan.lab.recipe import Recipe
from hidascan.model.heads import LinearEvidence


@dataclass(frozen=True)
class FamilyFigures:
    """images: of the family; left_out: training samples with an image of it. Against photos whose sources training
    never saw: AUC of the evidence and of its two parts, TPR at 1 and 5 % FPR."""

    family: str
    images: int
    left_out: int
    auc: float
    auc_local: float
    auc_global: float
    tpr_1: float
    tpr_5: float


def leave_one_family_out(
    recipe: Recipe, cache: Path, images: list[CleanImage], photos: list[CleanImage]
) -> list[FamilyFigures]:
    """images: of all kinds, as they are. photos: the real ones among these are the negatives."""
    parts, rows = evidence_samples(recipe, cache), []
    negatives = [image for image in photos if not image.label]
    for family, groups in FAMILIES.items():
        held_out = [image for image in images if image.group in groups]
        if not held_out:
            continue
        evidence = LinearEvidence(parts[0].means.shape[1], parts[0].means.shape[2])
        fit_evidence(recipe, parts, evidence, groups)
        labels = np.array([image.label for image in (*held_out, *negatives)])
        local, whole = np.array([_said(evidence, image) for image in (*held_out, *negatives)]).T
        left_out = int(sum(part.holding(groups).sum() for part in parts))
        figures = [auc(labels, z) for z in (local + whole, local, whole)]
        rates = [tpr_at_fpr(labels, local + whole, rate) for rate in (0.01, 0.05)]
        rows.append(FamilyFigures(family, len(held_out), left_out, *figures, *rates))
    return rows


def _said(evidence: LinearEvidence, image: CleanImage) -> tuple[float, float]:
    """Evidence of the patches and of the thumbnail."""
    is_global = torch.arange(len(image.cls)) == 0
    local, whole = evidence.pool(evidence(image.cls, is_global))
    return float(local), float(whole)


def as_markdown(rows: list[FamilyFigures]) -> str:
    """The table, the family with the lowest AUC in bold."""
    worst = min(rows, key=lambda row: row.auc)
    lines = [
        "| family left out | images | samples left out | AUC | local | global | TPR at 1 % | TPR at 5 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = (row.auc, row.auc_local, row.auc_global, row.tpr_1, row.tpr_5)
        cells = [row.family, str(row.images), str(row.left_out), *(f"{value:.3f}" for value in figures)]
        lines.append("| " + " | ".join(f"**{cell}**" if row is worst else cell for cell in cells) + " |")
    return "\n".join(lines)

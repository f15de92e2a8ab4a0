"""Leave one family out: how well the linear evidence finds generators of a family that it was never shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hidascan.lab.cache import ClsTokens
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
    recipe: Recipe, cache: Path, tables: list[ClsTokens], photos: ClsTokens
) -> list[FamilyFigures]:
    """tables: images as they are, of all kinds. photos: the real ones among these are the negatives."""
    parts = evidence_samples(recipe, cache)
    negatives = photos.only(photos.labels == 0)
    rows = []
    for family, groups in FAMILIES.items():
        held_out = [table.only(table.holding(groups)) for table in tables]
        if not sum(len(part.labels) for part in held_out):
            continue
        images = [*held_out, negatives]
        labels = torch.cat([part.labels for part in images]).numpy()
        local, whole = _said(_evidence(recipe, parts, groups), images)
        left_out = int(sum(part.holding(groups).sum() for part in parts))
        figures = [auc(labels, z) for z in (local + whole, local, whole)]
        rates = [tpr_at_fpr(labels, local + whole, rate) for rate in (0.01, 0.05)]
        rows.append(FamilyFigures(family, int(labels.sum()), left_out, *figures, *rates))
    return rows


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


def _evidence(recipe: Recipe, parts: list[ClsTokens], without: tuple[str, ...]) -> LinearEvidence:
    evidence = LinearEvidence(parts[0].means.shape[1], parts[0].means.shape[2])
    fit_evidence(recipe, parts, evidence, without)
    return evidence


def _said(evidence: LinearEvidence, images: list[ClsTokens]) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of the patches and of the thumbnail, each (S,)."""
    means, thumbnails = (torch.cat([getattr(p, kind) for p in images]) for kind in ("means", "thumbnails"))
    are_global = torch.ones(len(means), dtype=torch.bool)
    return evidence(means, ~are_global).numpy(), evidence(thumbnails, are_global).numpy()

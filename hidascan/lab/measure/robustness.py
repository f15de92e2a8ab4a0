"""Measure detection under common perturbations, and the share of verdicts that they flip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hidascan.image.decode import decode
from hidascan.image.perturb import PERTURBATIONS
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.lab.training.trainer import read_ahead
from hidascan.scanner import Scanner

UNTOUCHED = "as it is"
# Perturbations that should not flip a verdict between ai and real.
STABILITY = (
    "JPEG 90",
    "JPEG 75",
    "JPEG 40",
    "WebP 80",
    "resize 0.75",
    "resize 0.5",
    "centre 60 %",
    "letterbox",
    "messenger",
    "photo network",
    "news network",
)


@dataclass(frozen=True)
class PerturbationFigures:
    """Figures of all images under one perturbation; `balanced` is the balanced accuracy at 0.5."""

    perturbation: str
    auc: float
    balanced: float
    tpr_5: float
    ai_on_real: float
    inconclusive: float


@dataclass(frozen=True)
class Robustness:
    """Accuracy under perturbations, and stability of verdicts.

    Attributes:
        images: Number of images.
        perturbations: Figures of each perturbation.
        flips: Share of images, 0..1, with both ai and real among their verdicts, untouched and over STABILITY.
        flips_real: Share of flips among real images, 0..1.
        flips_ai: Share of flips among AI images, 0..1.
    """

    images: int
    perturbations: list[PerturbationFigures]
    flips: float
    flips_real: float
    flips_ai: float


def measure_robustness(
    scanner: Scanner, images: list[LabelledImage], on_image: Callable[[], object] = lambda: None
) -> Robustness:
    """Scan every image untouched and under each of PERTURBATIONS."""
    names = [UNTOUCHED, *PERTURBATIONS]
    scores, verdicts = [], []
    for number, finding in enumerate(scanner.scan_arrays(_copies(images)), start=1):
        scores.append(finding.score)
        verdicts.append(finding.verdict)
        if number % len(names) == 0:
            on_image()
    labels, shape = np.array([image.label for image in images]), (len(images), -1)
    return tabulate(names, labels, np.array(scores).reshape(shape), np.array(verdicts).reshape(shape))


def tabulate(names: list[str], labels: np.ndarray, score: np.ndarray, verdict: np.ndarray) -> Robustness:
    """Compute figures from scores and verdicts (n, len(names)) of images with labels (n,); UNTOUCHED is in `names`."""
    rows = [_figures(name, labels, score[:, i], verdict[:, i]) for i, name in enumerate(names)]
    stable = [i for i, name in enumerate(names) if name in (UNTOUCHED, *STABILITY)]
    flips = (verdict[:, stable] == "ai").any(1) & (verdict[:, stable] == "real").any(1)
    shares = (float(part.mean()) for part in (flips, flips[labels == 0], flips[labels == 1]))
    return Robustness(len(labels), rows, *shares)


def _copies(images: list[LabelledImage]) -> Iterator[tuple[str, np.ndarray]]:
    def copies_of(number: int) -> list[tuple[str, np.ndarray]]:
        pixels = decode(images[number].path).pixels
        return [(UNTOUCHED, pixels), *((name, perturb(pixels)) for name, perturb in PERTURBATIONS.items())]

    for copies in read_ahead(copies_of, len(images)):
        yield from copies


def _figures(name: str, labels: np.ndarray, scores: np.ndarray, verdicts: np.ndarray) -> PerturbationFigures:
    return PerturbationFigures(
        name,
        auc(labels, scores),
        balanced_accuracy(labels, scores, 0.5),
        tpr_at_fpr(labels, scores, 0.05),
        float((verdicts[labels == 0] == "ai").mean()),
        float((verdicts == "inconclusive").mean()),
    )


def as_markdown(robustness: Robustness) -> str:
    """Return the table, with the lowest AUC in bold, and a line on flips."""
    rows = robustness.perturbations
    head = ["perturbation", "AUC", "balanced accuracy at 0.5", "TPR at 5 % FPR", "`ai` on real", "inconclusive"]
    cells = []
    for row in rows:
        values = (row.auc, row.balanced, row.tpr_5, row.ai_on_real, row.inconclusive)
        cells.append([row.perturbation, *(f"{value:.3f}" for value in values)])
    text = markdown.table(head, cells, min(range(len(rows)), key=lambda number: rows[number].auc))
    real, ai = robustness.flips_real, robustness.flips_ai
    flips = f"Verdicts that flip over {len(STABILITY)} perturbations: {robustness.flips:.1%} (real {real:.1%}, AI {ai:.1%})."
    return f"{text}\n\n{flips}"

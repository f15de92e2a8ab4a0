"""Measure detection under perturbations, the share of verdicts that they flip, and the error of the quality estimate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from hidascan.errors import HidascanError, ImageError, RecipeError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.perturb import PERTURBATIONS, Perturbation, blur, jpeg, noise, shrink
from hidascan.lab.artifacts import ResultFile
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, balanced_accuracy, class_accuracy, share, tpr_at_fpr
from hidascan.scanner import Scanner

UNTOUCHED = "unchanged"
# Perturbations that should not flip a verdict between ai and real.
STABILITY = (
    "JPEG 90", "JPEG 75", "JPEG 40", "WebP 80", "resize 0.75", "resize 0.5", "centre 60 %", "letterbox",
    "messenger", "photo network", "news network",
)  # fmt: skip
QUALITIES = (30, 50, 70, 80, 90, 95)
MASKED = "masked share"
_NO_IMAGE = "no image of the table is readable"
_MASK_SIDE = 32  # side of masked squares, pixels


class PerturbationFigures(NamedTuple):
    """Figures of all images under one perturbation; `balanced` is the balanced accuracy at 0.5."""

    perturbation: str
    auc: float
    balanced: float
    tpr_5: float
    ai_on_real: float
    inconclusive: float


@dataclass(frozen=True)
class Robustness:
    """Accuracy under perturbations, and stability of verdicts."""

    images: int  # number of images
    perturbations: list[PerturbationFigures]  # figures of each perturbation
    flips: float  # share of images, 0..1, with both ai and real among their verdicts, untouched and over STABILITY
    flips_real: float  # share of flips among real images, 0..1
    flips_ai: float  # share of flips among AI images, 0..1


def scan_changed(
    scanner: Scanner, images: list[LabelledImage], changes: Sequence[Perturbation], what: str
) -> tuple[np.ndarray, list[list[Finding]]]:
    """Scan every image under each change; return the labels (n,) and findings, without heatmaps, of the readable ones.

    Raises:
        RecipeError: If there are none.
    """
    labels, findings = [], []
    for image in tqdm(images, desc=what, disable=None):
        if copies := _scan_copies(scanner, image, changes):
            labels.append(image.label)
            findings.append(copies)
    if not findings:
        raise RecipeError(_NO_IMAGE)
    return np.array(labels), findings


def _scan_copies(scanner: Scanner, image: LabelledImage, changes: Sequence[Perturbation]) -> list[Finding]:
    """Scan an image under each change; if that is impossible, write a line and return nothing."""
    try:
        pixels = decode(image.path).pixels
        copies = (("", change(pixels)) for change in changes)  # one at a time, as images may be large
        findings = [replace(one, heatmap=None) for one in scanner.scan_arrays(copies)]
        if problem := next((one.error for one in findings if one.error), ""):
            raise ImageError(problem)
    except (HidascanError, ValueError, OSError, MemoryError) as error:  # a copy may be too large for its format
        tqdm.write(f"skipped: {image.path}: {error}", file=sys.stderr)
        return []
    return findings


def measure_robustness(scanner: Scanner, images: list[LabelledImage]) -> Robustness:
    """Scan every image untouched and under each of PERTURBATIONS."""
    changes = [lambda pixels: pixels, *PERTURBATIONS.values()]
    labels, findings = scan_changed(scanner, images, changes, "robustness")
    score, verdict = ([[getattr(one, name) for one in row] for row in findings] for name in ("score", "verdict"))
    return tabulate([UNTOUCHED, *PERTURBATIONS], labels, np.array(score), np.array(verdict))


def tabulate(names: list[str], labels: np.ndarray, score: np.ndarray, verdict: np.ndarray) -> Robustness:
    """Compute figures from scores and verdicts (n, len(names)) of images with labels (n,); UNTOUCHED is in `names`."""
    rows = []
    for name, scores, verdicts in zip(names, score.T, verdict.T, strict=True):
        figures = auc(labels, scores), balanced_accuracy(labels, scores, 0.5), tpr_at_fpr(labels, scores, 0.05)
        shares = share(verdicts[labels == 0] == "ai"), share(verdicts == "inconclusive")
        rows.append(PerturbationFigures(name, *figures, *shares))
    stable = [i for i, name in enumerate(names) if name in (UNTOUCHED, *STABILITY)]
    flips = (verdict[:, stable] == "ai").any(1) & (verdict[:, stable] == "real").any(1)
    flipped = (share(part) for part in (flips, flips[labels == 0], flips[labels == 1]))
    return Robustness(len(labels), rows, *flipped)


def as_markdown(robustness: Robustness) -> str:
    """Return the table, with the lowest AUC in bold, and a line on flips."""
    rows, real, ai = robustness.perturbations, robustness.flips_real, robustness.flips_ai
    head = ["perturbation", "AUC", "balanced accuracy at 0.5", "TPR at 5 % FPR", "`ai` on real", "inconclusive"]
    text = markdown.table(head, rows, markdown.lowest([row.auc for row in rows]))
    flips = f"Verdicts that flip over {len(STABILITY)} perturbations: {robustness.flips:.1%} (real {real:.1%}, AI {ai:.1%})."
    return f"{text}\n\n{flips}"


def quality_errors(
    scanner: Scanner, images: list[LabelledImage], resized: float | None
) -> tuple[dict[int, float], int]:
    """Return the mean absolute error of the estimated quality at each of QUALITIES, JPEG 4:2:0 as Pillow writes it.

    `resized` is the factor of an additional resize after compression, under 1; None for none.

    Returns:
        The errors; and the number of images that count, for which it is always estimated, such as photos.

    Raises:
        RecipeError: If it is estimated for no image.
    """

    def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
        pixels = jpeg(shrink(pixels, 0.5), quality)
        return shrink(pixels, resized) if resized else pixels

    changes = [partial(saved, quality=quality) for quality in QUALITIES]
    _, findings = scan_changed(scanner, images, changes, "quality")
    estimates = [[finding.jpeg_quality_estimated for finding in row] for row in findings]
    estimates = [row for row in estimates if None not in row]
    if not estimates:
        raise RecipeError(f"the detector {scanner.info.detector} does not estimate the JPEG quality")
    errors = np.abs(np.array(estimates, float) - QUALITIES).mean(0)
    return dict(zip(QUALITIES, errors.tolist(), strict=True)), len(estimates)


def mask_cells(pixels: np.ndarray, share: float) -> np.ndarray:
    """Set a random share of squares to grey, with a fixed seed, (H, W, 3) uint8."""
    rows, columns = (-(-side // _MASK_SIDE) for side in pixels.shape[:2])
    hidden = np.random.default_rng(0).random((rows, columns)) < share
    mask = np.kron(hidden, np.ones((_MASK_SIDE, _MASK_SIDE), bool))[: pixels.shape[0], : pixels.shape[1], None]
    return np.where(mask, np.uint8(128), pixels)


def _resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    if scale <= 1:
        return shrink(pixels, scale) if scale < 1 else pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


CURVES: dict[str, dict[float, Perturbation]] = {
    "JPEG quality": {q: partial(jpeg, quality=q) for q in (100, 90, 80, 70, 60, 50, 40)},
    "blur, sigma": {s: partial(blur, sigma=s) for s in (0.5, 1.0, 1.5, 2.0, 2.5)},
    "resize": {s: partial(_resized, scale=s) for s in (0.6, 0.8, 1.0, 1.2, 1.4)},
    "noise, sigma": {s: partial(noise, sigma=s) for s in (2.0, 5.0, 10.0)},
    MASKED: {s: partial(mask_cells, share=s) for s in (0.0, 0.2, 0.4, 0.6, 0.8)},
}


def measure_curves(scanner: Scanner, images: list[LabelledImage], scores: Path) -> dict[str, list[tuple[float, float]]]:
    """Return (strength, AUC) of each level of CURVES; for masking, the share of AI images at or over 0.5.

    The scores of each image are kept in the file `scores`, from which an interrupted measurement is resumed.

    Raises:
        RecipeError: If no image is readable.
    """
    changes = [change for levels in CURVES.values() for change in levels.values()]
    levels = {name: [*steps] for name, steps in CURVES.items()}
    results = ResultFile(scores, f"{scanner.info.digest} {scanner.dtype} {scanner.options.patches} {levels}")
    for image in tqdm(images, desc=scanner.header.name, disable=None):
        if str(image.path) not in results.known and (copies := _scan_copies(scanner, image, changes)):
            results.add(str(image.path), scores=[float(finding.score or 0.0) for finding in copies])
    known = [image for image in images if str(image.path) in results.known]
    if not known:
        raise RecipeError(_NO_IMAGE)
    labels = np.array([image.label for image in known])
    columns = iter(np.array([results.known[str(image.path)]["scores"] for image in known]).T)
    measures = {name: partial(class_accuracy, label=1) if name == MASKED else auc for name in CURVES}
    return {
        name: [(strength, measures[name](labels, next(columns))) for strength in levels]
        for name, levels in CURVES.items()
    }

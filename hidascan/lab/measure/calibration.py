"""Fit temperature, shift and thresholds to raw logits of held-out images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from hidascan.calibration import ERRORS, Calibration, ErrorRates, Reliability
from hidascan.detectors.base import Detector
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.errors import RecipeError
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.data.tables import LabelledImage, fold_of
from hidascan.lab.measure.localisation import heatmap_of
from hidascan.lab.measure.metrics import balanced_accuracy
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner

_C = 1000.0  # inverse of the penalty, which keeps the slope finite for separable classes
_FLATTEST = 0.05  # minimum slope, in standard deviations of the logit
_SHARES = np.linspace(0, 1, 401)


def calibrate(
    weights: Path,
    images: list[LabelledImage],
    options: ScanOptions,
    on_batch: Callable[[int], None] = lambda views: None,
    images_sha256: str = "",
) -> dict[str, float]:
    """Fit the calibration of `weights`, write it into their header, and return its figures.

    The figures are cross-fitted: each source is evaluated by a calibration fitted to the others.

    Args:
        weights: Path of a trained part.
        images: Images of held-out sources.
        options: Scan options.
        on_batch: Callback that gets the number of finished views.
        images_sha256: SHA-256 of the image tables, for the header.

    Raises:
        RecipeError: If no image can be read.
    """
    by_path = {str(image.path): image for image in images}
    scanner = Scanner(dataclasses.replace(options, weights=str(weights)))
    findings = [f for f in scanner.scan(by_path, on_batch) if f.status == "ok"]
    if not findings:
        raise RecipeError(f"{weights}: no readable image to calibrate on")
    known = [by_path[f.path] for f in findings]
    labels, logits = np.array([i.label for i in known]), np.array([f.logit for f in findings])
    detector, header = load_detector(weights)
    cells = real_cells_of(detector, [image for image in known if not image.label])
    figures = _cross_fitted(known, labels, logits, cells)
    header = dataclasses.replace(
        header,
        calibration=fit_calibration(labels, logits, cells),
        training=header.training | {"calibration": {"images": len(known), "images_sha256": images_sha256, **figures}},
    )
    save_trained(weights, detector, header)
    return figures


def calibrate_by_scores(weights: Path, images: list[LabelledImage], scores: np.ndarray, out: Path) -> dict[str, float]:
    """Calibrate weights by out-of-fold scores of networks with the same training, but without the images' sources.

    So weights trained on every source are calibrated on held-out ones. They are named after the file. Returns the
    figures of `calibrate`.

    Args:
        weights: Path of uncalibrated weights without a heatmap, trained on all sources.
        images: Scored images.
        scores: (n,) sigmoids of raw logits; NaN for unreadable files.
        out: Path of the calibrated weights.
    """
    kept = np.flatnonzero(~np.isnan(scores))
    known, sure = [images[place] for place in kept], np.clip(scores[kept], 1e-7, 1 - 1e-7)
    labels, logits = np.array([image.label for image in known]), np.log(sure / (1 - sure))
    detector, header = load_detector(weights)
    figures = _cross_fitted(known, labels, logits, np.zeros(1))
    extra = {"calibration": {"images": len(known), "out_of_fold": True, **figures}}
    calibration = fit_calibration(labels, logits, np.zeros(1))
    named = dataclasses.replace(header, name=out.stem, calibration=calibration, training=header.training | extra)
    save_trained(out, detector, named)
    return figures


def recalibrate(weights: Path, **rules: Any) -> None:
    """Write fitted rules into the calibration of weights."""
    detector, header = load_detector(weights)
    calibration = dataclasses.replace(header.calibration, **rules)
    save_trained(weights, detector, dataclasses.replace(header, calibration=calibration))


def real_cells_of(detector: Detector, photos: list[LabelledImage]) -> np.ndarray:
    """Return p(AI) of cells of real images saved at JPEG 85, the common quality with most false alarms of TFL.

    Each image contributes an equal number of cells.
    """
    if not detector.has_heatmap or not photos:
        return np.zeros(1)
    maps = [heatmap_of(detector, jpeg(decode(photo.path).pixels, 85)) for photo in photos]
    return np.concatenate([np.quantile(cells, _SHARES) for cells in maps])


def _cross_fitted(
    images: list[LabelledImage], labels: np.ndarray, logits: np.ndarray, cells: np.ndarray
) -> dict[str, float]:
    """Evaluate each source by a calibration fitted without it; return no figures if a class is missing."""
    folds = np.array([fold_of(image.source) for image in images])
    if len(set(folds.tolist())) == 1:  # a calibration fold: divide it by source
        folds = np.unique([image.source for image in images], return_inverse=True)[1]
    if any(len(set(labels[folds != fold])) < 2 for fold in set(folds.tolist())):
        return {}
    scores, verdicts = cross_fitted_verdicts(labels, logits, folds, cells)
    figures = {
        "cross_fitted_balanced_accuracy": balanced_accuracy(labels, scores, 0.5),
        "cross_fitted_ai_on_real": (verdicts[labels == 0] == "ai").mean(),
        "cross_fitted_ai_on_ai": (verdicts[labels == 1] == "ai").mean(),
        "cross_fitted_inconclusive": (verdicts == "inconclusive").mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def cross_fitted_verdicts(
    labels: np.ndarray,
    logits: np.ndarray,
    folds: np.ndarray,
    real_cells: np.ndarray | None = None,
    profile: str = "balanced",
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and verdicts (n,), each fold by a calibration fitted to the others.

    Args:
        labels: (n,) 0 or 1.
        logits: (n,) raw logits.
        folds: (n,) fold numbers.
        real_cells: As in `fit_calibration`.
        profile: Profile of the verdicts.
    """
    scores, verdicts = np.zeros(len(labels)), np.full(len(labels), "inconclusive")
    cells = np.zeros(1) if real_cells is None else real_cells
    for fold in set(folds.tolist()):
        others = folds != fold
        rule = fit_calibration(labels[others], logits[others], cells).rule(profile)
        for i in np.flatnonzero(folds == fold):
            scores[i] = rule.score(logits[i])
            verdicts[i] = rule.verdict(scores[i])
    return scores, verdicts


def measure_reliability(
    labels: np.ndarray, logits: np.ndarray, folds: np.ndarray, as_published: np.ndarray
) -> dict[str, Reliability]:
    """Measure the error rates of cross-fitted verdicts in each profile, on images as published and as delivered.

    Args:
        labels: (n,) 0 or 1.
        logits: (n,) raw logits, out of fold.
        folds: (n,) fold numbers.
        as_published: (n,) bool, true for images as published, false for delivered copies.

    Returns:
        Error rates by profile; empty if a class is missing.
    """
    parts = [mask & (labels == label) for mask in (as_published, ~as_published) for label in (0, 1)]
    if not all(part.any() for part in parts) or any(
        len(set(labels[folds != fold])) < 2 for fold in set(folds.tolist())
    ):
        return {}
    measured = {}
    for profile in ERRORS:
        verdicts = cross_fitted_verdicts(labels, logits, folds, profile=profile)[1]
        rates = [
            ErrorRates(_share(verdicts[real] == "ai"), _share(verdicts[ai] == "real"), int(real.sum()), int(ai.sum()))
            for real, ai in (parts[:2], parts[2:])
        ]
        measured[profile] = Reliability(*rates)
    return measured


def _share(found: np.ndarray) -> float:
    return round(float(found.mean()), 4)


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, real_cells: np.ndarray, false_area: float = 0.02
) -> Calibration:
    """Fit Platt scaling p = sigmoid(scale * logit + shift), with equal weight of both classes, and the thresholds.

    The thresholds are conformal (split conformal prediction per class): at most a given share of real images from new
    sources is called `ai`, and of AI images `real` (ERRORS). Neither threshold crosses 0.5; scores between them are
    inconclusive.

    Args:
        labels: (n,) 0 or 1.
        logits: (n,) raw logits.
        real_cells: p(AI) of cells of real images, 0..1.
        false_area: Share of these that reaches the localisation threshold, which is at least 0.5.
    """
    scale, shift = _platt(labels, logits)
    scores = 1 / (1 + np.exp(-(scale * logits + shift)))
    thresholds = {}
    for profile, (false_alarms, misses) in ERRORS.items():
        ai_from = _rarely_reached(scores[labels == 0], false_alarms)
        real_below = 1 - _rarely_reached(1 - scores[labels == 1], misses)
        thresholds[profile] = (min(0.5, math.floor(real_below * 1e4) / 1e4), max(0.5, math.ceil(ai_from * 1e4) / 1e4))
    localisation = max(0.5, float(np.quantile(real_cells, 1 - false_area)))
    return Calibration(scale, shift, thresholds, round(localisation, 3))


def _rarely_reached(scores: np.ndarray, share: float) -> float:
    """Return the score that another image of this distribution exceeds with a probability of at most `share`."""
    allowed = int(share * (len(scores) + 1))
    return float(np.sort(scores)[::-1][max(0, allowed - 1)])


def _platt(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Fit logistic regression of one variable, with equal weight of both classes.

    The slope is always positive: a detector with reversed ranking gets scores near 0.5.
    """
    centre, spread = logits.mean(), logits.std() + 1e-6
    fitted = LogisticRegression(C=_C, class_weight="balanced").fit((logits[:, None] - centre) / spread, labels)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope < _FLATTEST:
        slope, offset = _FLATTEST, 0.0
    return slope / spread, offset - slope / spread * centre

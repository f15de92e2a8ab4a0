"""Fit a calibration to held-out images: Platt scaling and thresholds."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

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
_FALSE_AREA = 0.02  # share of the cells of real images that reaches the localisation threshold


def calibrate(
    weights: Path, images: list[LabelledImage], options: ScanOptions, images_sha256: str = ""
) -> dict[str, float]:
    """Fit the calibration of `weights`, write it into their header, and return its figures.

    The figures are cross-fitted: each source is evaluated by a calibration fitted to the others. The header also records
    `images_sha256`, that of the tables of images, whose sources must be held out.

    Raises:
        RecipeError: If no image of a class can be read.
    """
    by_path = {str(image.path): image for image in images}
    scanner = Scanner(dataclasses.replace(options, weights=str(weights.resolve())))  # a path, not a name
    scanned = tqdm(scanner.scan(by_path), total=len(by_path), desc="calibrate", disable=None)
    logits = {finding.path: finding.logit for finding in scanned if finding.status == "ok"}
    if not logits:
        raise RecipeError(f"{weights}: no readable image to calibrate on")
    known = [by_path[path] for path in logits]
    if len({image.label for image in known}) < 2:
        raise RecipeError(f"{weights}: calibration needs real and AI images; add sources")
    threshold = localisation_threshold(load_detector(weights)[0], [image for image in known if not image.label])
    record = {"images_sha256": images_sha256}
    return _write(weights, known, np.array([*logits.values()]), out=weights, threshold=threshold, record=record)


def calibrate_by_scores(weights: Path, images: list[LabelledImage], scores: np.ndarray, out: Path) -> dict[str, float]:
    """Calibrate weights by out-of-fold scores of networks with the same training, but without the images' sources.

    This calibrates weights that were trained on all sources and have no heatmap. The new weights are named after `out`.
    `scores` (n,) are sigmoids of raw logits; NaN for unreadable files. Returns the figures of `calibrate`.
    """
    kept = np.flatnonzero(~np.isnan(scores))
    known = [images[place] for place in kept]
    clipped = np.clip(scores[kept], 1e-7, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    return _write(weights, known, logits, out=out, threshold=0.5, record={"out_of_fold": True})


def _write(
    weights: Path,
    images: list[LabelledImage],
    logits: np.ndarray,
    *,
    out: Path,
    threshold: float,
    record: dict[str, Any],
) -> dict[str, float]:
    """Write weights with a calibration fitted to the logits (n,) of images; return its cross-fitted figures.

    `threshold` is that of heatmaps, `record` describes the images in the header.
    """
    labels = np.array([image.label for image in images])
    figures = _cross_fitted(images, labels, logits)
    detector, header = load_detector(weights)
    header = dataclasses.replace(
        header,
        name=header.name if out == weights else out.stem,
        calibration=dataclasses.replace(
            fit_calibration(labels, logits), localisation=threshold, region_odds=header.calibration.region_odds
        ),
        training=header.training | {"calibration": {"images": len(images), **record, **figures}},
    )
    save_trained(out, detector, header)
    if header.calibration.region_odds is not None:
        print("region_odds kept: run hidalab agree to fit it to this calibration", file=sys.stderr)
    return figures


def recalibrate(weights: Path, **rules: Any) -> None:
    """Write fitted rules into the calibration of weights."""
    detector, header = load_detector(weights)
    calibration = dataclasses.replace(header.calibration, **rules)
    save_trained(weights, detector, dataclasses.replace(header, calibration=calibration))


def localisation_threshold(detector: Detector, photos: list[LabelledImage]) -> float:
    """Return the heatmap value, at least 0.5, that few cells of real images saved at JPEG 85 reach.

    This is the common quality with most false alarms of TFL. Each image contributes an equal number of cells.
    """
    if not detector.has_heatmap or not photos:
        return 0.5
    maps = [heatmap_of(detector, jpeg(decode(photo.path).pixels, 85)) for photo in photos]
    cells = np.concatenate([np.quantile(cells, _SHARES) for cells in maps])
    return round(max(0.5, float(np.quantile(cells, 1 - _FALSE_AREA))), 3)


def _cross_fitted(images: list[LabelledImage], labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Evaluate each source by a calibration fitted without it; return no figures if a class is missing."""
    folds = np.array([fold_of(image.source) for image in images])
    if len(set(folds.tolist())) == 1:  # a calibration fold: divide it by source
        folds = np.unique([image.source for image in images], return_inverse=True)[1]
    if not _can_be_cross_fitted(labels, folds):
        return {}
    scores, verdicts = cross_fitted_verdicts(labels, logits, folds)
    figures = {
        "cross_fitted_balanced_accuracy": balanced_accuracy(labels, scores, 0.5),
        "cross_fitted_ai_on_real": (verdicts[labels == 0] == "ai").mean(),
        "cross_fitted_ai_on_ai": (verdicts[labels == 1] == "ai").mean(),
        "cross_fitted_inconclusive": (verdicts == "inconclusive").mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _can_be_cross_fitted(labels: np.ndarray, folds: np.ndarray) -> bool:
    """Return whether both classes remain without any fold."""
    return all(len(set(labels[folds != fold])) == 2 for fold in set(folds.tolist()))


def cross_fitted_verdicts(
    labels: np.ndarray,
    logits: np.ndarray,
    folds: np.ndarray,
    profile: str = "balanced",
    scored: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and verdicts (m,), each fold by a calibration fitted to the others.

    They are fitted to labels (n,), raw logits (n,) and fold numbers (n,). `scored` are logits (m,) and folds (m,) to
    score; None for those of the fit.
    """
    own_logits, own_folds = scored or (logits, folds)
    scores, verdicts = np.zeros(len(own_logits)), np.full(len(own_logits), "inconclusive")
    for fold in set(own_folds.tolist()):
        others = folds != fold
        rule = fit_calibration(labels[others], logits[others]).rule(profile)
        for i in np.flatnonzero(own_folds == fold):
            scores[i] = rule.score(own_logits[i])
            verdicts[i] = rule.verdict(scores[i])
    return scores, verdicts


def measure_reliability(
    labels: np.ndarray, logits: np.ndarray, folds: np.ndarray, as_published: np.ndarray
) -> dict[str, Reliability]:
    """Measure the error rates of cross-fitted verdicts by profile, on images as published and as delivered.

    All arguments are (n,): labels, raw logits out of fold, fold numbers, and bool, true for images as published. There are
    no rates if a class is missing.
    """
    parts = [mask & (labels == label) for mask in (as_published, ~as_published) for label in (0, 1)]
    if not all(part.any() for part in parts) or not _can_be_cross_fitted(labels, folds):
        return {}
    measured = {}
    for profile in ERRORS:
        verdicts = cross_fitted_verdicts(labels, logits, folds, profile=profile)[1]
        rates = []
        for real, ai in (parts[:2], parts[2:]):
            wrong = verdicts[real] == "ai", verdicts[ai] == "real"
            false_alarms, misses = (round(float(part.mean()), 4) for part in wrong)
            rates.append(
                ErrorRates(
                    real_called_ai=false_alarms,
                    ai_called_real=misses,
                    real_images=int(real.sum()),
                    ai_images=int(ai.sum()),
                )
            )
        measured[profile] = Reliability(*rates)
    return measured


def fit_calibration(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    """Fit Platt scaling p = sigmoid(scale * logit + shift) to labels and raw logits (n,), and the thresholds.

    Both classes have equal weight. The thresholds are conformal (split conformal prediction per class): at most a given
    share of real images from new sources is called `ai`, and of AI images `real` (ERRORS). With n images of a class, no
    share below 1 / (n + 1) can be guaranteed. Neither threshold crosses 0.5; scores between them are inconclusive.
    """
    scale, shift = _platt(labels, logits)
    scores = 1 / (1 + np.exp(-(scale * logits + shift)))
    thresholds = {}
    for profile, (false_alarms, misses) in ERRORS.items():
        ai_from = _rarely_reached(scores[labels == 0], false_alarms)
        real_below = 1 - _rarely_reached(1 - scores[labels == 1], misses)
        thresholds[profile] = (min(0.5, math.floor(real_below * 1e4) / 1e4), max(0.5, math.ceil(ai_from * 1e4) / 1e4))
    return Calibration(scale, shift, thresholds)


def _rarely_reached(scores: np.ndarray, share: float) -> float:
    """Return the score that another image of this distribution exceeds with a probability of at most `share`.

    With n scores, the probability is at most 1 / (n + 1) if that is larger.
    """
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

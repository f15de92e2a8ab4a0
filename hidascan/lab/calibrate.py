"""Raw logits of images that training never saw -> temperature, shift and thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hidascan.errors import RecipeError
from hidascan.image.decode import decode
from hidascan.image.redeliver import Compression, compress
from hidascan.lab.data import LabelledImage, read_table, tables_sha256
from hidascan.lab.localise import token_map
from hidascan.lab.metrics import balanced_accuracy
from hidascan.model.checkpoint import load_network, save_trained
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner
from hidascan.verdict import Calibration

_RIDGE = 1e-3
_SHARES = np.linspace(0, 1, 401)
# Of each profile: the share of real images that may be called ai, and of AI images that may be called real. The middle
# of the balanced one is wide enough for what a re-save or a resize does to a score: few verdicts turn round by it.
ERRORS = {"low-fpr": (0.002, 0.05), "balanced": (0.005, 0.015), "high-recall": (0.10, 0.015)}


def calibrate(
    weights: Path, table: Path, options: ScanOptions, on_batch: Callable[[int], None] = lambda views: None
) -> dict[str, float]:
    """Fit the calibration of `weights` on a table, write it into their header, and return honest figures of it.

    The figures are cross-fitted: each source is judged by a calibration fitted on the other sources.
    """
    images = {str(image.path): image for image in read_table(table)}
    scanner = Scanner(dataclasses.replace(options, weights=str(weights)))
    findings = [f for f in scanner.scan(images, on_batch) if f.status == "ok"]
    if not findings:
        raise RecipeError(f"{table}: no image of the table could be read")
    known = [images[f.path] for f in findings]
    labels, logits = np.array([i.label for i in known]), np.array([f.logit for f in findings])
    tokens = _real_tokens(scanner, [image for image in known if not image.label])
    figures = _cross_fitted(known, labels, logits, tokens)
    header = dataclasses.replace(
        scanner.header,
        calibration=fit_calibration(labels, logits, tokens),
        training=scanner.header.training | {"calibration": {"table_sha256": tables_sha256([table]), **figures}},
    )
    save_trained(weights, load_network(weights)[0].head, header)
    return figures


def _real_tokens(scanner: Scanner, photos: list[LabelledImage]) -> np.ndarray:
    """p(AI) of all cells of real images saved at JPEG 85: of usual qualities the one at which the token head raises most
    false alarms. Of each image as many, so that large ones do not count for more."""
    localiser, save = scanner.network.head.localiser.cpu(), Compression("JPEG", 85)
    maps = [token_map(localiser, compress(decode(photo.path).pixels, save)) for photo in photos]
    return np.concatenate([np.quantile(cells, _SHARES) for cells in maps]) if maps else np.zeros(1)


def _cross_fitted(images: list[LabelledImage], labels: np.ndarray, logits: np.ndarray, tokens: np.ndarray) -> dict:
    """Balanced accuracy at 0.5 and the rates of `ai`, where no source was calibrated by itself; five folds.

    Empty if some fold would leave only one class to fit on.
    """
    sources = np.array([image.source for image in images])
    folds = {source: number % 5 for number, source in enumerate(dict.fromkeys(sources))}
    fold = np.array([folds[source] for source in sources])
    scores, verdicts = np.zeros(len(labels)), np.full(len(labels), "", dtype=object)
    for number in set(fold):
        if len(set(labels[fold != number])) < 2:
            return {}
        calibration = fit_calibration(labels[fold != number], logits[fold != number], tokens)
        for i in np.flatnonzero(fold == number):
            scores[i] = calibration.score(logits[i])
            verdicts[i] = calibration.verdict(scores[i], "balanced")
    figures = {
        "cross_fitted_balanced_accuracy": balanced_accuracy(labels, scores, 0.5),
        "cross_fitted_ai_on_real": (verdicts[labels == 0] == "ai").mean(),
        "cross_fitted_ai_on_ai": (verdicts[labels == 1] == "ai").mean(),
        "cross_fitted_inconclusive": (verdicts == "inconclusive").mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, real_tokens: np.ndarray, false_area: float = 0.02
) -> Calibration:
    """Platt scaling p = sigmoid(scale * logit + shift) with both classes weighing the same, then two thresholds for
    each profile.

    `ai` from the score that at most a share `false_alarms` of real images reaches, `real` under the score that at
    most a share `misses` of AI images stays under (ERRORS); neither crosses 0.5, so what lies between is
    inconclusive. Localisation: the token probability that a share `false_area` of the tokens of real images
    (`real_tokens`) reaches, but >= 0.5.
    """
    scale, shift = _platt(labels, logits)
    scores = 1 / (1 + np.exp(-(scale * logits + shift)))
    thresholds = {}
    for profile, (false_alarms, misses) in ERRORS.items():
        ai_from = max(0.5, float(np.quantile(scores[labels == 0], 1 - false_alarms)))
        real_below = min(0.5, float(np.quantile(scores[labels == 1], misses)))
        thresholds[profile] = (round(real_below, 3), round(ai_from, 3))
    localisation = max(0.5, float(np.quantile(real_tokens, 1 - false_area)))
    return Calibration(scale, shift, thresholds, round(localisation, 3))


def _platt(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Logistic regression of one variable by Newton's method, from zero and on standardised logits: else it diverges."""
    centre, spread = logits.mean(), logits.std() + 1e-6
    design = np.stack([(logits - centre) / spread, np.ones(len(logits))], axis=1)
    weight = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -50, 50)))
        gradient = design.T @ (weight * (p - labels)) + _RIDGE * theta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    scale = theta[0] / spread
    return float(scale), float(theta[1] - scale * centre)

"""Fit the rule by which a heatmap region contradicts a verdict of `real`, on sources that the weights never saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.finding import Finding
from hidascan.lab.data.tables import LabelledImage, fold_of

FALSE_ALARMS = 0.005  # share of real images that may lose their verdict of `real`
SURE = 0.8  # minimum mean probability of a sure region; fixed, as fitting it causes false alarms out of fold
AREAS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)


@dataclass(frozen=True)
class Labelled:
    """One labelled image with the finding of a scan.

    Attributes:
        label: 1 for AI or edited by AI, 0 for real.
        fold: Fold of its source, 0..5.
        finding: Finding with score and regions.
    """

    label: int
    fold: int
    finding: Finding


def join(findings: Iterable[Finding], images: Iterable[LabelledImage]) -> list[Labelled]:
    """Pair findings with labels by path; omit findings without a label or a heatmap."""
    known = {str(image.path): image for image in images}
    found = [finding for finding in findings if finding.path in known and finding.ai_area is not None]
    return [Labelled(known[one.path].label, fold_of(known[one.path].source), one) for one in found]


def loses_real(labelled: list[Labelled], calibration: Calibration, rule: tuple[float, float]) -> np.ndarray:
    """Return (n,) bool: whether a rule moves each image from `real` to `inconclusive`, in the balanced profile."""
    ruled = dataclasses.replace(calibration, sure_region=rule)
    pairs = zip(_verdicts(labelled, calibration), labelled, strict=True)
    return np.array([ruled.contradicting(verdict, one.finding.regions) is not None for verdict, one in pairs], bool)


def _verdicts(labelled: list[Labelled], calibration: Calibration) -> list[str]:
    balanced = calibration.rule("balanced")
    return [balanced.verdict(one.finding.score or 0.0) for one in labelled]


def fit_sure_region(labelled: list[Labelled], calibration: Calibration) -> tuple[float, float] | None:
    """Find the smallest region that moves at most 0.5 % of the real images out of `real`.

    Returns:
        Minimum share of the cells and minimum mean probability of the region; None without real images, or if even the
        largest region moves too many.
    """
    real = [one for one in labelled if one.label == 0]
    rules = ((area, SURE) for area in AREAS if real)
    return next((rule for rule in rules if loses_real(real, calibration, rule).mean() <= FALSE_ALARMS), None)


def cross_fitted(labelled: list[Labelled], calibration: Calibration) -> dict[str, float]:
    """Evaluate each fold of sources by a rule fitted to the others.

    Returns:
        Number of images; shares of real and AI images moved by the rule; share of AI images called `real` by score.
    """
    labels, moved = np.array([one.label for one in labelled]), np.zeros(len(labelled), bool)
    folds = np.array([one.fold for one in labelled])
    for fold in np.unique(folds):
        rule = fit_sure_region([one for one in labelled if one.fold != fold], calibration)
        here = np.flatnonzero(folds == fold)
        if rule is not None:
            moved[here] = loses_real([labelled[place] for place in here], calibration, rule)
    called = np.array(_verdicts(labelled, calibration)) == "real"
    return {
        "real": int((labels == 0).sum()),
        "real_moved": round(float(moved[labels == 0].mean()), 5),
        "ai": int((labels == 1).sum()),
        "ai_called_real_by_score": round(float(called[labels == 1].mean()), 4),
        "ai_moved": round(float(moved[labels == 1].mean()), 4),
    }


def write_sure_region(weights: Path, rule: tuple[float, float] | None) -> None:
    """Write a rule into the header of weights."""
    detector, header = load_detector(weights)
    calibration = dataclasses.replace(header.calibration, sure_region=rule)
    save_trained(weights, detector, dataclasses.replace(header, calibration=calibration))

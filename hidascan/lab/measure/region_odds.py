"""Fit the rule by which a heatmap region raises the odds of AI, and measure it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from hidascan.calibration import Calibration
from hidascan.finding import Finding
from hidascan.lab.data.tables import LabelledImage, fold_of

_FALSE_REGIONS = 0.005  # maximum share of real images that lose their verdict of `real` by a region
_STEP = 1.1  # factor by which odds are lowered


@dataclass(frozen=True)
class LabelledFinding:
    """One labelled image with the finding of a scan."""

    label: int  # 1 for AI or edited by AI, 0 for real
    fold: int  # fold of its source, 0..5
    finding: Finding  # finding with score and regions


def join_labels(findings: Iterable[Finding], images: Iterable[LabelledImage]) -> list[LabelledFinding]:
    """Pair findings with labels by path; omit findings without a label or a heatmap."""
    known = {str(image.path): image for image in images}
    found = [finding for finding in findings if finding.path in known and finding.ai_area is not None]
    return [LabelledFinding(known[one.path].label, fold_of(known[one.path].source), one) for one in found]


def likelihood_ratio(forged: Collection[bool], real: Collection[bool]) -> float:
    """Return the ratio of the shares of images with a region; by Laplace's rule of succession, never 0 or infinite."""
    return ((sum(forged) + 1) / (len(forged) + 2)) / ((sum(real) + 1) / (len(real) + 2))


def loses_real(labelled: list[LabelledFinding], calibration: Calibration, odds: float) -> np.ndarray:
    """Return (n,) bool: whether a region moves each image from `real` to `inconclusive`, in the balanced profile."""
    rule = dataclasses.replace(calibration, region_odds=odds).rule("balanced")
    scores = [(one.finding.score or 0.0, one.finding.regions) for one in labelled]
    moved = [bool(regions) and rule.verdict(score) == "real" and rule.contradicts(score) for score, regions in scores]
    return np.array(moved, bool)


def fit_region_odds(labelled: list[LabelledFinding], calibration: Calibration) -> float | None:
    """Fit the factor by which a region raises the odds of AI, lowered until at most 0.5 % of real images lose `real`.

    Returns:
        The odds; None without real images.
    """
    parts = [[one for one in labelled if one.label == label] for label in (1, 0)]
    if not parts[1]:
        return None
    odds = likelihood_ratio(*([bool(one.finding.regions) for one in part] for part in parts))
    while odds > 1 and loses_real(parts[1], calibration, odds).mean() > _FALSE_REGIONS:
        odds /= _STEP
    return odds


def cross_fitted_odds(labelled: list[LabelledFinding], calibration: Calibration) -> dict[str, float]:
    """Evaluate each fold of sources by a rule fitted to the others.

    Returns:
        Number of images; shares of real and AI images moved by the rule; share of AI images called `real` by score.
    """
    labels = np.array([one.label for one in labelled])
    moved = np.zeros(len(labelled), bool)
    folds = np.array([one.fold for one in labelled])
    for fold in np.unique(folds):
        odds = fit_region_odds([one for one in labelled if one.fold != fold], calibration)
        here = np.flatnonzero(folds == fold)
        if odds is not None:
            moved[here] = loses_real([labelled[place] for place in here], calibration, odds)
    balanced = calibration.rule("balanced")
    called = np.array([balanced.verdict(one.finding.score or 0.0) == "real" for one in labelled])
    return {
        "real": int((labels == 0).sum()),
        "real_moved": round(float(moved[labels == 0].mean()), 5),
        "ai": int((labels == 1).sum()),
        "ai_called_real_by_score": round(float(called[labels == 1].mean()), 4),
        "ai_moved": round(float(moved[labels == 1].mean()), 4),
    }

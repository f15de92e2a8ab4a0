"""Metrics of detectors. Scores are (n,) float, labels (n,) 0 or 1, 1 for AI."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import average_precision_score

Metric = Callable[[np.ndarray, np.ndarray], float]
_ROUNDS = 500  # of the bootstrap


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Compute the area under the ROC curve, of images that weigh `weights` (n,); NaN if a class is missing."""
    if not _has_both(labels):
        return float("nan")
    false_positives, true_positives = _roc_curve(labels, scores, weights)
    return float((np.diff(false_positives) * (true_positives[1:] + true_positives[:-1])).sum() / 2)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the precision-recall curve as a sum over thresholds; NaN if a class is missing."""
    return float(average_precision_score(labels, scores)) if _has_both(labels) else float("nan")


def source_weights(labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Return weights (n,) that give all sources of a class equal weight, for any number of images."""
    keys = [f"{label} {source}" for label, source in zip(labels, sources, strict=True)]
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return 1.0 / counts[place]


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Compute the mean of the shares of AI images at or over, and of real ones under the threshold."""
    called_ai = scores >= threshold
    return float(np.mean([(called_ai[labels == label] == label).mean() for label in np.unique(labels)]))


def class_accuracy(labels: np.ndarray, scores: np.ndarray, label: int) -> float:
    """Return the accuracy at 0.5 on the images of one class, 0..1; NaN without images."""
    return share((scores[labels == label] >= 0.5) == label)


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of all values except NaN; NaN if there are no others."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def share(chosen: np.ndarray) -> float:
    """Return the share of true values of (n,), 0..1; NaN if it is empty."""
    return float(chosen.mean()) if len(chosen) else float("nan")


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, fpr: float) -> float:
    """Compute the true-positive rate at the lowest threshold whose false-positive rate is at most `fpr`; NaN if a class is missing."""
    if not _has_both(labels):
        return float("nan")
    false_positives, true_positives = _roc_curve(labels, scores)
    return float(true_positives[false_positives <= fpr].max())


def _roc_curve(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the false- and true-positive rates, rising from 0 to 1, at each distinct score.

    As scikit-learn's `roc_curve`, whose checks of its input take hundreds of times longer in a bootstrap.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    each = np.ones(len(labels)) if weights is None else weights[order]
    real, ai = (np.append(0.0, np.cumsum(each * (labels[order] == label))[last]) for label in (0, 1))
    return real / real[-1], ai / ai[-1]


def _has_both(labels: np.ndarray) -> bool:
    return len(np.unique(labels)) == 2


def interval_over_sources(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, sources: Sequence[str]
) -> tuple[float, float]:
    """Return the 95 % interval of a metric by bootstrap over sources, as images of one source are not independent.

    Real and AI sources are drawn separately, so that both classes are always present.
    """
    rng, values = np.random.default_rng(0), []
    places = [np.asarray(sources) == source for source in sorted(set(sources))]
    members = [[np.flatnonzero((labels == label) & here) for here in places] for label in (0, 1)]
    groups = [[rows for rows in of_class if len(rows)] for of_class in members]
    for _ in range(_ROUNDS):
        drawn = [of_class[i] for of_class in groups for i in rng.integers(0, len(of_class), len(of_class))]
        rows = np.concatenate(drawn)
        values.append(metric(labels[rows], scores[rows]))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)

"""Metrics of detectors. Scores are (n,) float, labels (n,) 0 or 1, 1 for AI."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the ROC curve (Mann-Whitney U), ties counted half; NaN if a class is missing."""
    ai, real = np.sort(scores[labels == 1]), scores[labels == 0]
    if not len(ai) or not len(real):
        return float("nan")
    below = np.searchsorted(ai, real, side="left")
    equal = np.searchsorted(ai, real, side="right") - below
    return float(1 - (below + 0.5 * equal).sum() / (len(ai) * len(real)))


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the precision-recall curve as a sum over thresholds; NaN if a class is missing."""
    if len(set(labels.tolist())) < 2:
        return float("nan")
    levels, place = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(place, labels == 1, len(levels)))
    all_over = np.cumsum(np.bincount(place, minlength=len(levels)))
    return float((np.diff(hits, prepend=0.0) / hits[-1] * hits / all_over).sum())


def source_weights(labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Return weights (n,) that give all sources of a class equal weight, for any number of images."""
    keys = [f"{label} {source}" for label, source in zip(labels, sources, strict=True)]
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1.0 / counts[place]
    return weights


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Compute the area under the ROC curve of weighted images, ties counted half."""
    levels, place = np.unique(scores, return_inverse=True)
    ai, real = (np.bincount(place, weights * (labels == label), len(levels)) for label in (1, 0))
    below = np.cumsum(real) - real / 2
    return float((ai * below).sum() / (ai.sum() * real.sum()))


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Compute the mean of the shares of AI images at or over, and of real ones under the threshold."""
    return float(((scores[labels == 1] >= threshold).mean() + (scores[labels == 0] < threshold).mean()) / 2)


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, fpr: float) -> float:
    """Compute the true-positive rate at the lowest threshold whose false-positive rate is at most `fpr`."""
    real = np.sort(scores[labels == 0])[::-1]
    return float((scores[labels == 1] > real[int(fpr * len(real))]).mean())


def interval_over_sources(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, sources: Sequence[str], rounds: int = 500, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a metric by bootstrap over sources, as images of one source are not independent.

    Real and AI sources are drawn separately, so that both classes are always present.
    """
    rng, values = np.random.default_rng(seed), []
    members = [
        [np.flatnonzero((labels == label) & (np.asarray(sources) == s)) for s in sorted(set(sources))]
        for label in (0, 1)
    ]
    groups = [[rows for rows in of_class if len(rows)] for of_class in members]
    for _ in range(rounds):
        drawn = [of_class[i] for of_class in groups for i in rng.integers(0, len(of_class), len(of_class))]
        rows = np.concatenate(drawn)
        values.append(metric(labels[rows], scores[rows]))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)

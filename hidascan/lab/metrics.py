"""The figures by which detectors are compared. Scores (n,) float, labels (n,) 0/1, 1 = AI."""

from __future__ import annotations

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney U), ties counted half. NaN if a class is missing."""
    ai, real = np.sort(scores[labels == 1]), scores[labels == 0]
    if not len(ai) or not len(real):
        return float("nan")
    below = np.searchsorted(ai, real, side="left")
    equal = np.searchsorted(ai, real, side="right") - below
    return float(1 - (below + 0.5 * equal).sum() / (len(ai) * len(real)))


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Mean of the shares of AI at or over, and of real under the threshold."""
    return float(((scores[labels == 1] >= threshold).mean() + (scores[labels == 0] < threshold).mean()) / 2)


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, fpr: float) -> float:
    """True-positive rate at the lowest threshold whose false-positive rate is at most `fpr`."""
    real = np.sort(scores[labels == 0])[::-1]
    return float((scores[labels == 1] > real[int(fpr * len(real))]).mean())

"""Raw logits of images that training never saw -> temperature, shift and thresholds."""

from __future__ import annotations

import numpy as np

from hidascan.verdict import Calibration

_RIDGE = 1e-3


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, real_tokens: np.ndarray, error: float = 0.05, false_area: float = 0.03
) -> Calibration:
    """Platt scaling p = sigmoid(scale * logit + shift) with both classes weighing the same, then two thresholds.

    `ai` from the score that at most a share `error` of real images reaches, `real` under the score that at most a
    share `error` of AI images stays under; neither crosses 0.5, so what lies between is inconclusive. Localisation:
    the token probability that a share `false_area` of the tokens of real images (`real_tokens`) reaches, but >= 0.5.
    """
    scale, shift = _platt(labels, logits)
    scores = 1 / (1 + np.exp(-(scale * logits + shift)))
    ai_threshold = max(0.5, float(np.quantile(scores[labels == 0], 1 - error)))
    real_threshold = min(0.5, float(np.quantile(scores[labels == 1], error)))
    localisation = max(0.5, float(np.quantile(real_tokens, 1 - false_area)))
    return Calibration(scale, shift, *(round(t, 3) for t in (ai_threshold, real_threshold, localisation)))


def _platt(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Logistic regression of one variable by Newton's method."""
    design = np.stack([logits, np.ones_like(logits)], axis=1).astype(float)
    weight = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    theta = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (weight * (p - labels)) + _RIDGE * theta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    return float(theta[0]), float(theta[1])

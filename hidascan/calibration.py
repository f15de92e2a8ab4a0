"""Turn a raw logit into a calibrated score and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hidascan.options import PROFILES

# Maximum shares, for each profile, of real images called ai, and of AI images called real, at which thresholds are fitted.
ERRORS = {"low-fpr": (0.002, 0.05), "balanced": (0.01, 0.03), "high-recall": (0.10, 0.015)}


@dataclass(frozen=True)
class ErrorRates:
    """Error rates of the verdicts, measured on images of held-out sources.

    Raises:
        ValueError: For a share outside 0..1 or a number of images below 1.
    """

    real_called_ai: float  # share, 0..1, of the real images that are called `ai`
    ai_called_real: float  # share, 0..1, of the AI images that are called `real`
    real_images: int  # number of real images counted
    ai_images: int  # number of AI images counted

    def __post_init__(self) -> None:
        """Check every value."""
        if not (0 <= self.real_called_ai <= 1 and 0 <= self.ai_called_real <= 1):
            raise ValueError("an error rate must be within 0 and 1")
        if min(self.real_images, self.ai_images) < 1:
            raise ValueError("an error rate needs at least 1 image")


@dataclass(frozen=True)
class Reliability:
    """Measured errors of one profile."""

    as_published: ErrorRates  # on images as they came from their sources
    delivered: ErrorRates  # on copies as sites and messengers deliver them: shrunk, compressed again, screenshots


@dataclass(frozen=True)
class Calibration:
    """Platt scaling p = sigmoid(scale * logit + shift), and thresholds: `ai`, `real`, between them `inconclusive`.

    Attributes:
        scale: Factor of the logit.
        shift: Offset of the scaled logit.
        thresholds: Thresholds of each profile, (real below, ai from), scores in 0..1.
        localisation: Threshold of a cell's value, 0..1, from which it counts as AI-made.
        settling: Factors of `examination.error_margin` for early stopping; None if never fitted.
        region_odds: Likelihood ratio of a heatmap region, at least 0: the share of images with an AI-made part that
            show one over the share of real images that do; a region raises the odds of AI by as much. None if never
            fitted.
        reliability: Measured errors of the verdicts, by profile; a profile without them was never measured.
    """

    scale: float = 1.0
    shift: float = 0.0
    thresholds: dict[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(PROFILES, (0.5, 0.5)))
    localisation: float = 0.5
    settling: tuple[float, float] | None = None
    region_odds: float | None = None
    reliability: dict[str, Reliability] = field(default_factory=dict)

    def score(self, logit: float) -> float:
        """Return the probability of AI, 0..1, if half of the images are AI-made."""
        x = self.scale * logit + self.shift
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def rule(self, profile: str, threshold: float | None = None) -> Rule:
        """Return the rule of a profile; with the user's own `threshold`, no score is inconclusive."""
        return Rule(self, *(self.thresholds[profile] if threshold is None else (threshold, threshold)))


@dataclass(frozen=True)
class Rule:
    """A calibration, and the bounds between the verdicts of one scan."""

    calibration: Calibration  # calibration of the weights
    real_below: float  # score, 0..1, below which an image is `real`
    ai_from: float  # score, 0..1, from which it is `ai`

    def score(self, logit: float) -> float:
        """Return the probability of AI, 0..1, if half of the images are AI-made."""
        return self.calibration.score(logit)

    def verdict(self, score: float) -> str:
        """Return "ai", "real" or "inconclusive"."""
        if score >= self.ai_from:
            return "ai"
        return "real" if score < self.real_below else "inconclusive"

    def contradicts(self, score: float) -> bool:
        """Return whether a region of the heatmap contradicts `real`, by raising the odds of AI to the bound or above.

        Bayes' rule: p / (1 - p) is multiplied by the likelihood ratio of a region.
        """
        odds = self.calibration.region_odds
        return odds is not None and odds * score * (1 - self.real_below) >= self.real_below * (1 - score)

"""Turn a raw logit into a calibrated score and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hidascan.options import PROFILES
from hidascan.regions import Region


@dataclass(frozen=True)
class Calibration:
    """Platt scaling p = sigmoid(scale * logit + shift), and thresholds: `ai`, `real`, between them `inconclusive`.

    Attributes:
        scale: Factor of the logit.
        shift: Offset of the scaled logit.
        thresholds: Thresholds of each profile, (real below, ai from), scores in 0..1.
        localisation: Threshold of a cell's probability, 0..1, from which it counts as AI-made.
        sure_region: Minimum share of the image's cells and minimum mean probability, both 0..1, of a region that
            contradicts a verdict of `real`; None if never fitted.
        settling: Factors of `looking.error_margin` for early stopping; None if never fitted.
    """

    scale: float = 1.0
    shift: float = 0.0
    thresholds: dict[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(PROFILES, (0.5, 0.5)))
    localisation: float = 0.5
    settling: tuple[float, float] | None = None
    sure_region: tuple[float, float] | None = None

    def score(self, logit: float) -> float:
        """Return the calibrated probability, 0..1, that an image contains AI-made pixels."""
        x = self.scale * logit + self.shift
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def rule(self, profile: str, threshold: float | None = None) -> Rule:
        """Return the rule of a profile; with a `threshold` of the user's own nothing is inconclusive."""
        return Rule(self, *(self.thresholds[profile] if threshold is None else (threshold, threshold)))

    def contradicting(self, verdict: str, regions: Iterable[Region]) -> Region | None:
        """Return the first region of a heatmap that contradicts a verdict of `real`; None if there is none."""
        if verdict != "real" or self.sure_region is None:
            return None
        area, score = self.sure_region
        return next((region for region in regions if region.area >= area and region.score >= score), None)


@dataclass(frozen=True)
class Rule:
    """A calibration, and the bounds between the verdicts of one scan.

    Attributes:
        calibration: Calibration of the weights.
        real_below: Score, 0..1, below which an image is `real`.
        ai_from: Score, 0..1, from which it is `ai`.
    """

    calibration: Calibration
    real_below: float
    ai_from: float

    def score(self, logit: float) -> float:
        """Return the calibrated probability, 0..1, that an image holds AI-made pixels."""
        return self.calibration.score(logit)

    def verdict(self, score: float) -> str:
        """Return "ai", "real" or "inconclusive"."""
        if score >= self.ai_from:
            return "ai"
        return "real" if score < self.real_below else "inconclusive"

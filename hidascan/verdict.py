"""A raw logit -> a calibrated score -> a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hidascan.options import PROFILES


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(scale * logit + shift); `ai` from one threshold on, `real` below the other, else `inconclusive`.

    thresholds: of each profile, (real below, ai from). localisation: tokens with a probability from here on count as
    AI. All but scale and shift are in 0..1.
    """

    scale: float = 1.0
    shift: float = 0.0
    thresholds: dict[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(PROFILES, (0.5, 0.5)))
    localisation: float = 0.5

    def score(self, logit: float) -> float:
        """Calibrated probability that the image holds AI pixels, 0..1."""
        x = self.scale * logit + self.shift
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def verdict(self, score: float, profile: str, threshold: float | None = None) -> str:
        """ "ai", "real" or "inconclusive"; with a `threshold` of the user's own there is no middle."""
        real_below, ai_from = (threshold, threshold) if threshold is not None else self.thresholds[profile]
        if score >= ai_from:
            return "ai"
        return "real" if score < real_below else "inconclusive"

"""Early stopping: decide whether the patches seen so far settle the verdict of all patches."""

from __future__ import annotations

import math
from collections.abc import Callable

from hidascan.calibration import Calibration

MIN_PATCHES = 6  # patches from which a standard error can be estimated
SUSPECTS = 3  # additional patches: the most suspicious ones by `Detector.glance`
# (logit, standard error, patches seen, all patches) -> whether the verdict is settled.
Settled = Callable[[float, float, int, int], bool]
# (logit of an image, p(AI) of its hottest cell so far) -> whether all patches must be examined.
Alarmed = Callable[[float, float], bool]


def jackknife_error(logit: float, effects: list[float]) -> float:
    """Return the jackknife standard error of a logit over its patches.

    Args:
        logit: Logit of all patches seen.
        effects: Influence of each patch: the logit minus that without it.
    """
    count = len(effects)
    without = [logit - effect for effect in effects]
    mean = sum(without) / count
    return math.sqrt((count - 1) / count * sum((one - mean) ** 2 for one in without))


def error_margin(settling: tuple[float, float], error: float, seen: int, total: int) -> float:
    """Return the margin of error of the logit of all `total` patches, given that of the `seen` ones.

    Both terms vanish when all are seen, like the error of sampling without replacement.

    Args:
        settling: Factors of the standard error, and of a floor for patches that agree by chance.
        error: Standard error by `jackknife_error`.
        seen: Number of patches seen.
        total: Number of all patches.
    """
    factor, floor = settling
    return factor * error * math.sqrt(1 - seen / total) + floor * math.sqrt(1 / seen - 1 / total)


def settled_by(calibration: Calibration, profile: str, threshold: float | None) -> Settled:
    """Return the early-stopping rule: a verdict is settled if it is the same at both ends of the margin of error."""

    def settled(logit: float, error: float, seen: int, total: int) -> bool:
        if seen < MIN_PATCHES or calibration.settling is None:
            return seen >= total
        far = error_margin(calibration.settling, error, seen, total)
        ends = {calibration.verdict(calibration.score(end), profile, threshold) for end in (logit - far, logit + far)}
        return len(ends) == 1

    return settled


def alarmed_by(calibration: Calibration, profile: str, threshold: float | None) -> Alarmed:
    """Return the rule that requires a full scan: a suspicious patch in an image that is not `ai` anyway."""

    def alarmed(logit: float, hottest: float) -> bool:
        verdict = calibration.verdict(calibration.score(logit), profile, threshold)
        return verdict != "ai" and hottest >= calibration.localisation

    return alarmed

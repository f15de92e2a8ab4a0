"""Early stopping: decide whether the patches seen so far settle the verdict of all patches."""

from __future__ import annotations

import math
from collections.abc import Callable

from hidascan.calibration import Calibration

MIN_PATCHES = 6  # patches from which a spread can be told
SUSPECTS = 3  # patches that are looked at besides, as their pixels look most like AI at a glance
# What a detector says of the patches seen so far -> whether that is the verdict of all: logit, error, seen, in all.
Settled = Callable[[float, float, int, int], bool]
# The logit of an image and the p(AI) of its hottest cell seen so far -> whether all patches must be looked at.
Alarmed = Callable[[float, float], bool]


def jackknife_error(logit: float, effects: list[float]) -> float:
    """Return the standard error of a logit over the patches that it is made of, by the jackknife.

    Args:
        logit: Logit of all patches seen.
        effects: Influence of each patch: the logit minus that without it.
    """
    count = len(effects)
    without = [logit - effect for effect in effects]
    mean = sum(without) / count
    return math.sqrt((count - 1) / count * sum((one - mean) ** 2 for one in without))


def error_margin(settling: tuple[float, float], error: float, seen: int, total: int) -> float:
    """Return how far the logit of all `total` patches may be from that of the `seen`.

    Both parts vanish as all are seen, as the error of a sample without replacement does.

    Args:
        settling: Factors of the error, and of the rest where patches agree by chance.
        error: Standard error of `jackknife_error`.
        seen: Number of patches seen.
        total: Number of all patches.
    """
    factor, floor = settling
    return factor * error * math.sqrt(1 - seen / total) + floor * math.sqrt(1 / seen - 1 / total)


def settled_by(calibration: Calibration, profile: str, threshold: float | None) -> Settled:
    """Return the early-stopping rule: a verdict is settled if it is the same at both ends of the logit's error_margin."""

    def settled(logit: float, error: float, seen: int, total: int) -> bool:
        if seen < MIN_PATCHES or calibration.settling is None:
            return seen >= total
        far = error_margin(calibration.settling, error, seen, total)
        ends = {calibration.verdict(calibration.score(end), profile, threshold) for end in (logit - far, logit + far)}
        return len(ends) == 1

    return settled


def alarmed_by(calibration: Calibration, profile: str, threshold: float | None) -> Alarmed:
    """Return the rule that requires a full scan: a suspicious patch, in an image that is not `ai` anyway."""

    def alarmed(logit: float, hottest: float) -> bool:
        verdict = calibration.verdict(calibration.score(logit), profile, threshold)
        return verdict != "ai" and hottest >= calibration.localisation

    return alarmed

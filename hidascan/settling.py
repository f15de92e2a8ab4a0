"""Early stopping: decide whether the patches seen so far settle the verdict of all patches."""

from __future__ import annotations

import math
from collections.abc import Callable

from hidascan.calibration import Rule

FEWEST = 6  # patches from which a spread can be told
SUSPECTS = 3  # patches that are looked at besides, as their pixels look most like AI at a glance
# What a detector says of the patches seen so far -> whether that is the verdict of all: logit, doubt, seen, in all.
Settled = Callable[[float, float, int, int], bool]
# The logit of an image and the p(AI) of its hottest cell seen so far -> whether all patches must be looked at.
Alarmed = Callable[[float, float], bool]


def doubt_of(logit: float, effects: list[float]) -> float:
    """Return the standard error of a logit over the patches that it is made of, by the jackknife.

    Args:
        logit: Logit of all patches seen.
        effects: Influence of each patch: the logit minus that without it.
    """
    count = len(effects)
    without = [logit - effect for effect in effects]
    mean = sum(without) / count
    return math.sqrt((count - 1) / count * sum((one - mean) ** 2 for one in without))


def reach(settling: tuple[float, float], doubt: float, seen: int, total: int) -> float:
    """Return how far the logit of all `total` patches may be from that of the `seen`.

    Both parts vanish as all are seen, as the error of a sample without replacement does.

    Args:
        settling: Factors of the doubt, and of the rest where patches agree by chance.
        doubt: Standard error of `doubt_of`.
        seen: Number of patches seen.
        total: Number of all patches.
    """
    factor, floor = settling
    return factor * doubt * math.sqrt(1 - seen / total) + floor * math.sqrt(1 / seen - 1 / total)


def settled_by(rule: Rule) -> Settled:
    """Return the early-stopping rule: a verdict is settled if it is the same at both ends of the logit's reach."""

    def settled(logit: float, doubt: float, seen: int, total: int) -> bool:
        settling = rule.calibration.settling
        if seen < FEWEST or settling is None:
            return seen >= total
        far = reach(settling, doubt, seen, total)
        ends = {rule.verdict(rule.score(end)) for end in (logit - far, logit + far)}
        return len(ends) == 1

    return settled


def alarmed_by(rule: Rule) -> Alarmed:
    """Return the rule that requires a full scan: a suspicious patch, in an image that is not `ai` anyway."""

    def alarmed(logit: float, hottest: float) -> bool:
        return rule.verdict(rule.score(logit)) != "ai" and hottest >= rule.calibration.localisation

    return alarmed

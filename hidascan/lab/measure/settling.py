"""Fit the early-stopping rule to trajectories of logits, from few patches to all, on held-out sources."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hidascan.calibration import Calibration
from hidascan.examination import examine_until_settled, settled_by
from hidascan.lab.artifacts import ResultFile
from hidascan.lab.data.tables import LabelledImage
from hidascan.options import PROFILES
from hidascan.scanner import Scanner

MAX_CHANGED_VERDICTS = 0.005  # maximum share of verdicts that differ from those of all patches
_FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
_FLOORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Trajectory:
    """Trajectory of the logit of one image."""

    path: str
    # (logit, standard error, number of patches examined, number of all patches) after each chunk but the last.
    steps: list[tuple[float, float, int, int]]
    logit: float  # logit of all patches
    patches: int  # number of all patches


@dataclass(frozen=True)
class Outcome:
    """Results of an early-stopping rule on many images, in all profiles."""

    differ: float  # share of verdicts that differ from those of all patches, 0..1
    reversed: int  # number of verdicts reversed between ai and real
    seen: np.ndarray  # (n,) patches examined per image, in the balanced profile
    error: np.ndarray  # (n,) distance of the score from that of all patches, in the balanced profile


def record_trajectories(scanner: Scanner, images: list[LabelledImage], kept: Path) -> list[Trajectory]:
    """Scan images one by one without early stopping, and record the logit after each chunk of patches.

    The network must not be trained on the images' sources; unreadable images are omitted. `kept` is a JSON Lines file of
    known trajectories, to which new ones are appended. Afterwards, the scanner never stops early.
    """
    results = ResultFile(kept, scanner.info.digest)
    steps = []

    def never(*step: Any) -> bool:
        steps.append(step)
        return False

    scanner.engine.examine = functools.partial(examine_until_settled, detector=scanner.detector, settled=never)
    for image in tqdm(images, desc="examining", disable=None):
        if str(image.path) not in results.known:
            steps.clear()
            finding = next(scanner.scan([image.path]))
            if finding.logit is not None:
                results.add(str(image.path), steps=[*steps], logit=finding.logit, patches=finding.patches or 0)
    rows = [results.known[str(image.path)] for image in images if str(image.path) in results.known]
    return [Trajectory(row["path"], [tuple(s) for s in row["steps"]], row["logit"], row["patches"]) for row in rows]


def outcome(trajectories: list[Trajectory], calibration: Calibration, settling: tuple[float, float]) -> Outcome:
    """Apply a rule to the trajectories of images."""
    calibration = dataclasses.replace(calibration, settling=settling)
    differ, turned = [], 0
    seen, error = np.zeros(len(trajectories)), np.zeros(len(trajectories))
    for profile in PROFILES:
        rule = calibration.rule(profile)
        settled = settled_by(rule)
        for place, trajectory in enumerate(trajectories):
            last = trajectory.logit, trajectory.patches
            logit, patches = next(((step[0], step[2]) for step in trajectory.steps if settled(*step)), last)
            scores = rule.score(logit), rule.score(trajectory.logit)
            verdicts = {rule.verdict(score) for score in scores}
            differ.append(len(verdicts) > 1)
            turned += verdicts == {"ai", "real"}
            if profile == "balanced":
                seen[place], error[place] = patches, abs(scores[0] - scores[1])
    return Outcome(float(np.mean(differ)), turned, seen, error)


def fit_settling(trajectories: list[Trajectory], calibration: Calibration) -> tuple[float, float]:
    """Find the rule with the fewest patches among those that change few verdicts and reverse none."""
    best, fewest = (_FACTORS[-1], _FLOORS[-1]), np.inf
    for settling in itertools.product(_FACTORS, _FLOORS):
        found = outcome(trajectories, calibration, settling)
        if found.differ <= MAX_CHANGED_VERDICTS and not found.reversed and found.seen.sum() < fewest:
            best, fewest = settling, found.seen.sum()
    return best


def cross_fitted(trajectories: list[Trajectory], folds: list[int], calibration: Calibration) -> dict[str, float]:
    """Evaluate each fold of sources by a rule fitted to the others."""
    parts = []
    for fold in sorted(set(folds)):
        others = [trajectory for trajectory, one in zip(trajectories, folds, strict=True) if one != fold]
        here = [trajectory for trajectory, one in zip(trajectories, folds, strict=True) if one == fold]
        parts.append(outcome(here, calibration, fit_settling(others, calibration)))
    seen, error = (np.concatenate([getattr(part, name) for part in parts]) for name in ("seen", "error"))
    counts = np.array([len(part.seen) for part in parts])
    return {
        "images": len(trajectories),
        "verdicts_differ": round(float(np.average([part.differ for part in parts], weights=counts)), 5),
        "reversed": sum(part.reversed for part in parts),
        "patches_in_all": int(sum(trajectory.patches for trajectory in trajectories)),
        "patches_seen": int(seen.sum()),
        "seen_median": float(np.median(seen)),
        "seen_95": float(np.quantile(seen, 0.95)),
        "score_error_mean": round(float(error.mean()), 4),
        "score_error_95": round(float(np.quantile(error, 0.95)), 4),
    }

"""Fit when a verdict is settled: watch logits on their way from few patches to all, on sources that were new."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hidascan.calibration import Calibration
from hidascan.detectors.checkpoint import load_detector, save_trained
from hidascan.lab.data.tables import LabelledImage
from hidascan.looking import settled_by, until_settled
from hidascan.options import PROFILES
from hidascan.scanner import Scanner

WRONG = 0.005  # of verdicts may differ from those of all patches
_FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
_FLOORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Way:
    """The way of one image.

    Attributes:
        path: Path of the image.
        steps: (logit, doubt, patches seen, patches in all) after each chunk but the last.
        logit: Logit of all patches.
        patches: Number of all patches.
    """

    path: str
    steps: list[tuple[float, float, int, int]]
    logit: float
    patches: int


@dataclass(frozen=True)
class Outcome:
    """Results of an early-stopping rule on many images, in all profiles.

    Attributes:
        differ: Share of verdicts that are not those of all patches.
        reversed: Number of verdicts reversed from ai to real or from real to ai.
        seen: Patches looked at, of each image, by the balanced profile.
        error: Largest distance of a score from that of all patches, of each image, by the balanced profile.
    """

    differ: float
    reversed: int
    seen: np.ndarray
    error: np.ndarray


def watch(
    scanner: Scanner, images: list[LabelledImage], kept: Path, on_image: Callable[[], object] = lambda: None
) -> list[Way]:
    """Scan images one by one without ever stopping early, and note what each chunk of patches said.

    Args:
        scanner: Scanner whose network was not trained on the images' sources.
        images: Images to measure; unreadable ones are omitted.
        kept: A file of what is known already, JSON lines; what is new is added.
        on_image: Called after each.
    """
    known = _known(kept, scanner.run.digest)
    steps: list[tuple[float, float, int, int]] = []

    def never(*step: Any) -> bool:
        steps.append(step)
        return False

    scanner.engine.look = functools.partial(until_settled, detector=scanner.detector, settled=never)
    found = []
    for image in images:
        way = known.get(str(image.path))
        if way is None:
            steps.clear()
            finding = next(scanner.scan([image.path]))
            if finding.logit is not None:
                way = Way(str(image.path), list(steps), finding.logit, finding.patches or 0)
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"run": scanner.run.digest, **dataclasses.asdict(way)}) + "\n")
        if way is not None:
            found.append(way)
        on_image()
    return found


def _known(kept: Path, run: str) -> dict[str, Way]:
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    return {
        row["path"]: Way(row["path"], [tuple(step) for step in row["steps"]], row["logit"], row["patches"])
        for row in rows
        if row["run"] == run
    }


def outcome(ways: list[Way], calibration: Calibration, settling: tuple[float, float]) -> Outcome:
    """Apply a rule to the ways of images."""
    calibration = dataclasses.replace(calibration, settling=settling)
    differ, turned = [], 0
    seen, error = np.zeros(len(ways)), np.zeros(len(ways))
    for profile in PROFILES:
        rule = calibration.rule(profile)
        settled = settled_by(rule)
        for place, way in enumerate(ways):
            logit, patches = next(
                ((step[0], step[2]) for step in way.steps if settled(*step)), (way.logit, way.patches)
            )
            scores = rule.score(logit), rule.score(way.logit)
            verdicts = {rule.verdict(score) for score in scores}
            differ.append(len(verdicts) > 1)
            turned += verdicts == {"ai", "real"}
            if profile == "balanced":
                seen[place], error[place] = patches, abs(scores[0] - scores[1])
    return Outcome(float(np.mean(differ)), turned, seen, error)


def fit_settling(ways: list[Way], calibration: Calibration) -> tuple[float, float]:
    """Find the rule that looks at the fewest patches among those that change few verdicts, and turn none round."""
    best, fewest = (_FACTORS[-1], _FLOORS[-1]), np.inf
    for settling in itertools.product(_FACTORS, _FLOORS):
        found = outcome(ways, calibration, settling)
        if found.differ <= WRONG and not found.reversed and found.seen.sum() < fewest:
            best, fewest = settling, found.seen.sum()
    return best


def cross_fitted(ways: list[Way], folds: list[int], calibration: Calibration) -> dict[str, float]:
    """Judge each fold of sources by a rule that was fitted to the others."""
    parts = []
    for fold in sorted(set(folds)):
        others = [way for way, one in zip(ways, folds, strict=True) if one != fold]
        here = [way for way, one in zip(ways, folds, strict=True) if one == fold]
        parts.append(outcome(here, calibration, fit_settling(others, calibration)))
    seen, error = (np.concatenate([getattr(part, name) for part in parts]) for name in ("seen", "error"))
    counts = np.array([len(part.seen) for part in parts])
    return {
        "images": len(ways),
        "verdicts_differ": round(float(np.average([part.differ for part in parts], weights=counts)), 5),
        "reversed": sum(part.reversed for part in parts),
        "patches_in_all": int(sum(way.patches for way in ways)),
        "patches_seen": int(seen.sum()),
        "seen_median": float(np.median(seen)),
        "seen_95": float(np.quantile(seen, 0.95)),
        "score_error_mean": round(float(error.mean()), 4),
        "score_error_95": round(float(np.quantile(error, 0.95)), 4),
    }


def write_settling(weights: Path, settling: tuple[float, float]) -> None:
    """Write a rule into the header of weights."""
    detector, header = load_detector(weights)
    calibration = dataclasses.replace(header.calibration, settling=settling)
    save_trained(weights, detector, dataclasses.replace(header, calibration=calibration))

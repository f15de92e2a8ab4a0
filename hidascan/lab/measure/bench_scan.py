"""Scan the images of a benchmark, as they are published or all in one format, and keep every score at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hidascan.errors import HidascanError
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.training.trainer import read_ahead
from hidascan.scanner import Scanner

ALIGNED_QUALITY = 96  # at which both classes are saved again


class ScoreFile:
    """Scores by path, a JSON line each, appended as they come: a killed run goes on where it stopped."""

    def __init__(self, path: Path | None, run: str):
        """Open it.

        Args:
            path: The file; None to keep nothing.
            run: Tells these weights and this way of saving from others, which may be in the same file.
        """
        self._path, self._run = path, run
        self.known: dict[str, float] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = _parsed(line)
                if row and row.get("run") == run:
                    self.known[row["path"]] = math.nan if row["score"] is None else float(row["score"])

    def add(self, path: str, score: float) -> None:
        """Keep a score, NaN for a file that could not be read."""
        self.known[path] = score
        if self._path is not None:
            row = {"run": self._run, "path": path, "score": None if math.isnan(score) else score}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _parsed(line: str) -> dict[str, str] | None:
    """Parse a line; None for one that a kill cut short."""
    try:
        row: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return row if {"path", "score"} <= row.keys() else None


def scan(
    scanner: Scanner, paths: list[str], aligned: bool, kept: ScoreFile, on_image: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Return p(AI) (n,) of files, NaN for those that cannot be read; those that `kept` knows are not scanned again.

    Args:
        scanner: Of what.
        paths: Which files.
        aligned: Whether all are saved as JPEG 96 first.
        kept: Where scores go.
        on_image: Called after each.
    """
    missing = [path for path in dict.fromkeys(paths) if path not in kept.known]
    for path, score in _saved_again(scanner, missing) if aligned else _as_they_are(scanner, missing):
        kept.add(path, score)
        on_image()
    return np.array([kept.known[path] for path in paths])


def _as_they_are(scanner: Scanner, paths: list[str]) -> Iterator[tuple[str, float]]:
    for finding in scanner.scan(paths):
        yield finding.path, math.nan if finding.score is None else float(finding.score)


def _saved_again(scanner: Scanner, paths: list[str]) -> Iterator[tuple[str, float]]:
    def load(number: int) -> tuple[str, np.ndarray | None]:
        try:
            return paths[number], jpeg(decode(paths[number]).pixels, ALIGNED_QUALITY)
        except HidascanError:
            return paths[number], None

    for path, pixels in read_ahead(load, len(paths), ahead=4):
        finding = None if pixels is None else scanner.scan_array(pixels)
        yield path, math.nan if finding is None or finding.score is None else float(finding.score)

"""Scan the images of a benchmark, as published or all in one format, and store every score at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hidascan.errors import HidascanError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.training.trainer import read_ahead
from hidascan.scanner import Scanner

ALIGNED_QUALITY = 96  # JPEG quality at which both classes are saved again


class ScoreFile:
    """Scores by path, appended as JSON lines, so that a killed run can be resumed."""

    def __init__(self, path: Path | None, run: str):
        """Open the file.

        Args:
            path: Path of the file; None to store nothing.
            run: Key of weights and format, as a file may hold several runs.
        """
        self._path, self._run = path, run
        self.known: dict[str, tuple[float, float]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = _parsed(line)
                if row and row.get("run") == run:
                    self.known[row["path"]] = _number(row["score"]), _number(row.get("uncertainty"))

    def add(self, path: str, finding: Finding | None) -> None:
        """Store score and uncertainty of a finding; an unreadable file has neither."""
        score, uncertainty = (None, None) if finding is None else (finding.score, finding.uncertainty)
        self.known[path] = _number(score), _number(uncertainty)
        if self._path is not None:
            row = {"run": self._run, "path": path, "score": score, "uncertainty": uncertainty}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _parsed(line: str) -> dict[str, Any] | None:
    """Parse a line; None if it was truncated by a kill."""
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row if {"path", "score"} <= row.keys() else None


def scan(
    scanner: Scanner, paths: list[str], aligned: bool, kept: ScoreFile, on_image: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Return the scores of files; scan those that are not stored yet.

    Args:
        scanner: Scanner to score with.
        paths: Files to score.
        aligned: Whether to save all images as JPEG 96 first.
        kept: Store of scores.
        on_image: Callback after each image.

    Returns:
        (n, 2): p(AI), NaN for an unreadable file, and its uncertainty, NaN if not estimated.
    """
    missing = [path for path in dict.fromkeys(paths) if path not in kept.known]
    for path, finding in _saved_again(scanner, missing) if aligned else _as_published(scanner, missing):
        kept.add(path, finding)
        on_image()
    return np.array([kept.known[path] for path in paths]).reshape(-1, 2)


def _as_published(scanner: Scanner, paths: list[str]) -> Iterator[tuple[str, Finding]]:
    for finding in scanner.scan(paths):
        yield finding.path, finding


def _saved_again(scanner: Scanner, paths: list[str]) -> Iterator[tuple[str, Finding | None]]:
    def load(number: int) -> tuple[str, np.ndarray | None]:
        try:
            return paths[number], jpeg(decode(paths[number]).pixels, ALIGNED_QUALITY)
        except HidascanError:
            return paths[number], None

    for path, pixels in read_ahead(load, len(paths), ahead=4):
        yield path, None if pixels is None else scanner.scan_array(pixels)

"""Scan images, as published or all in one format, and store every result at once, so that a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hidascan.errors import HidascanError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.training.trainer import read_ahead
from hidascan.scanner import Scanner

ALIGNED_QUALITY = 96  # JPEG quality at which both classes are saved again


class ResultFile:
    """Results by path, appended as JSON lines.

    Attributes:
        known: Row of each path.
    """

    def __init__(self, path: Path | None, run: str):
        """Open the file.

        Args:
            path: Path of the file; None to store nothing.
            run: Key of weights and format, as a file may hold several runs.
        """
        self._path, self._run = path, run
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        rows = [row for line in lines if (row := _parsed(line)).get("run") == run]
        self.known: dict[str, dict[str, Any]] = {row["path"]: row for row in rows}

    def add(self, path: str, **results: Any) -> None:
        """Store the results of a file."""
        self.known[path] = {"run": self._run, "path": path, **results}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.known[path]) + "\n")


def _parsed(line: str) -> dict[str, Any]:
    """Parse a line; return nothing if it was truncated by a kill."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


def scan(scanner: Scanner, paths: list[str], aligned: bool, results: ResultFile) -> np.ndarray:
    """Return the scores of files; scan those that are not stored yet, saved as JPEG 96 first if `aligned`.

    Returns:
        (n, 2): p(AI), NaN for an unreadable file, and its uncertainty, NaN if not estimated.
    """
    missing = [path for path in dict.fromkeys(paths) if path not in results.known]
    found = _saved_again(scanner, missing) if aligned else _as_published(scanner, missing)
    for path, finding in tqdm(found, total=len(missing), desc=scanner.header.name, disable=None):
        score, uncertainty = (None, None) if finding is None else (finding.score, finding.uncertainty)
        results.add(path, score=score, uncertainty=uncertainty)
    rows = [results.known[path] for path in paths]
    return np.array([[row["score"], row.get("uncertainty")] for row in rows], float).reshape(-1, 2)


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

"""Score images by an outside detector, in the format of `benchmarks.rivals` and `hidalab compare --outside`.

This module does not import hidascan, as outside detectors run in separate environments.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable


def write_scores(score: Callable[[str], float]) -> None:
    """Read paths from stdin, one per line, and write CSV with path and score; a file that is refused has no score."""
    out = csv.writer(sys.stdout)
    out.writerow(["path", "score"])
    for path in sys.stdin.read().splitlines():
        try:
            out.writerow([path, score(path)])
        except Exception as error:  # any error; continue with the other files
            print(f"{path}: {error}", file=sys.stderr)
            out.writerow([path, ""])
        sys.stdout.flush()

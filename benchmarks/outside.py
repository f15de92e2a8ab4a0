"""Score images by an outside detector, as `benchmarks.rivals` and `hidalab compare --outside` want it.

It imports nothing of ours: outside detectors run in environments of their own.
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
        except Exception as error:  # whatever it raises, the others go on
            print(f"{path}: {error}", file=sys.stderr)
            out.writerow([path, ""])
        sys.stdout.flush()

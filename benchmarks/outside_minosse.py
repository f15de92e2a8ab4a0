"""Score images by minosse, which has no network, for `benchmarks.rivals` and `hidalab compare --outside minosse=FILE`.

    python3 -m venv /tmp/minosse && /tmp/minosse/bin/pip install minosse==0.1.0
    /tmp/minosse/bin/python benchmarks/outside_minosse.py < list.txt > minosse.csv

A file that it refuses has no score.
"""

from __future__ import annotations

from outside import write_scores

if __name__ == "__main__":
    from minosse import analyze_path

    write_scores(lambda path: analyze_path(path).score)

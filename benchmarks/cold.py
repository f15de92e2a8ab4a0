"""From the command to the first verdict: a hidascan of its own for one image of 1 MP, several times.

    python -m benchmarks.cold [--rounds 5] [--megapixels 1] [-- OPTIONS OF hidascan]

Prints the medians, in seconds: until the verdict is there, until the process has ended, and what of it importing takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed import make_picture

IMPORTS = "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); import hidascan.cli, hidascan.scanner; print(b - a, time.perf_counter() - b)"


def first_verdict(command: list[str]) -> tuple[float, float]:
    """(seconds to its first line, seconds to its end)."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        if not running.stdout.readline():
            raise SystemExit("no verdict")
        said = time.perf_counter() - started
        running.stdout.read()
    return said, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=1)
    parser.add_argument("options", nargs="*", help="for hidascan, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "one.jpg"
        make_picture(picture, given.megapixels, 0)
        command = [sys.executable, "-m", "hidascan.cli", *given.options, str(picture)]
        first_verdict(command)  # files are in the memory of the system after that, and OpenVINO's network in its cache
        rounds = [first_verdict(command) for _ in range(given.rounds)]
    imports = [subprocess.check_output([sys.executable, "-c", IMPORTS]).split() for _ in range(given.rounds)]
    names = ("verdict", "end", "import torch", "other imports")
    columns = zip(*((*one, *map(float, two)) for one, two in zip(rounds, imports, strict=True)), strict=True)
    print(json.dumps({name: round(statistics.median(column), 2) for name, column in zip(names, columns, strict=True)}))


if __name__ == "__main__":
    main()

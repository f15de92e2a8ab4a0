"""Measure the time from the command to the first verdict, in separate runs on one image of 1 MP.

    python -m benchmarks.cold [--rounds 5] [--megapixels 1] [--files 1] [-- OPTIONS OF hidascan]

Prints the medians, in seconds: time to the first verdict, and the part of it for imports. --files is the number of
copies of the image in the scanned folder, to compare the start of large and small folders.
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

IMPORTS = """
import time; started = time.perf_counter()
import torch; middle = time.perf_counter()
import hidascan.cli, hidascan.scanner; print(middle - started, time.perf_counter() - middle)
"""


def make_files(folder: Path, megapixels: float, count: int) -> None:
    """Write one picture under `count` names; a new copy for each 50,000, as a file cannot have many more links."""
    for number in range(count):
        if number % 50_000 == 0:
            picture = folder / f"{number:06d}.jpg"
            make_picture(picture, megapixels, 0)
        else:
            (folder / f"{number:06d}.jpg").hardlink_to(picture)


def first_verdict(command: list[str]) -> float:
    """Return the seconds that a command takes to its first line, and stop it."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        if not running.stdout.readline():
            raise SystemExit("no verdict")
        seconds = time.perf_counter() - started
        running.terminate()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=1)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("options", nargs="*", help="for hidascan, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), given.megapixels, given.files)
        command = [sys.executable, "-m", "hidascan.cli", folder, "--jsonl", "-", *given.options]
        first_verdict(command)  # files are in the memory of the system after that
        verdicts = [first_verdict(command) for _ in range(given.rounds)]
    imports = [subprocess.check_output([sys.executable, "-c", IMPORTS]).split() for _ in range(given.rounds)]
    of_torch, others = (statistics.median(map(float, column)) for column in zip(*imports, strict=True))
    found = {"first verdict": statistics.median(verdicts), "import torch": of_torch, "other imports": others}
    print(json.dumps({name: round(seconds, 2) for name, seconds in found.items()}))


if __name__ == "__main__":
    main()

"""Measure the cost of decoding in a separate process against decoding in this one: interleaved, medians over rounds.

python benchmarks/decoding.py PATH... [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from hidascan.image.decode import DecodedImage, decode
from hidascan.image.isolation import Decoders
from hidascan.image.sources import expand


def seconds(work: Callable[[str], DecodedImage], paths: list[str]) -> tuple[float, float]:
    """Return the seconds for all files, and their megapixels."""
    started = time.perf_counter()
    pixels = sum(work(path).pixels.size / 3e6 for path in paths)
    return time.perf_counter() - started, pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    paths, apart = list(expand(given.paths)), Decoders()
    ways = {"here": decode, "apart": lambda path: apart.decode(path, 10**9)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds + 1):
        for name, work in ways.items():
            took, megapixels = seconds(work, paths)
            found[name].append(took)
    here, there = (statistics.median(found[name][1:]) for name in ways)  # the first round warms up
    figures = {
        "files": len(paths),
        "megapixels": round(megapixels, 1),
        "here_s": round(here, 3),
        "apart_s": round(there, 3),
    }
    print(json.dumps(figures | {"cost_ms_per_file": round(1000 * (there - here) / len(paths), 2)}))


if __name__ == "__main__":
    main()

"""Speed of the whole scan against its limit, the bare network on ready tensors; interleaved, in one run.

    python benchmarks/scan_speed.py PATH... [--rounds 3] [--precision bf16] [--json FILE]

Both sides use the same network, batch size and dtype. Views are patches plus one thumbnail an image. The ratio is of
the medians over the rounds; peak memory is of this process, both sides included.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from hidascan import Scanner, ScanOptions
from hidascan.lab.speed import measure_speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="hidascan-b")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scanner = Scanner(ScanOptions(given.weights, given.device, given.precision, given.batch_size))
    figures = dataclasses.asdict(measure_speed(scanner, given.paths, given.rounds))
    print(json.dumps(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

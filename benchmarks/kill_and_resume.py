"""Kill a scan at random moments and continue with --resume; compare the result with an uninterrupted scan.

    python benchmarks/kill_and_resume.py [--images 300] [--kills 20] [--seed 0] [--precision auto]

Pictures are generated. Rows of CSV and objects of JSONL are compared, except for `seconds`; after every kill, both
must contain complete, valid lines, except perhaps the last.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hidascan.finding import COLUMNS

START = 4.0  # approximate seconds before the first row of a scan


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        height, width = rng.integers(200, 300, 2)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((int(width), int(height)))
        coarse.save(folder / f"{number:03d}.{('jpg', 'png')[number % 2]}")
    (folder / "150-broken.png").write_bytes(b"no image")


def scan(folder: Path, out: Path, *more: str) -> subprocess.Popen:
    outputs = [f"--{kind}={out}.{kind}" for kind in ("csv", "jsonl")]
    command = [sys.executable, "-m", "hidascan.cli", str(folder), *outputs, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def without_seconds(out: Path) -> tuple[list, list]:
    with Path(f"{out}.csv").open(newline="", encoding="utf-8") as file:
        table = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    lines = Path(f"{out}.jsonl").read_text(encoding="utf-8").splitlines()
    return table, [{**json.loads(line), "seconds": 0} for line in lines]


def check_lines(out: Path) -> int:
    """Return the number of complete lines of the JSONL; ValueError if one of either file is invalid."""
    for row in csv.reader(line.decode() for line in _whole_lines(Path(f"{out}.csv"))):
        if len(row) != len(COLUMNS):
            raise ValueError(f"a row of {len(row)} cells: {row}")
    objects = [json.loads(line) for line in _whole_lines(Path(f"{out}.jsonl"))]
    return len(objects)


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    options = ("--precision", given.precision)
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        make_pictures(base / "in", given.images)
        started = time.monotonic()
        scan(base / "in", base / "whole", *options).communicate()
        latest = START + 1.5 * (time.monotonic() - started) / given.kills  # so that the kills lie all over the scan
        kills, rows, more = 0, [], ()
        while kills < given.kills:
            running = scan(base / "in", base / "torn", *options, *more)
            try:
                running.communicate(timeout=rng.uniform(0.5, latest))
                break
            except subprocess.TimeoutExpired:
                running.kill()
                running.communicate()
            kills += 1
            rows.append(check_lines(base / "torn"))
            more = ("--resume",) if Path(f"{base / 'torn'}.csv").exists() else ()
            time.sleep(0.1)
        last = scan(base / "in", base / "torn", *options, *more)
        output = last.communicate()[1].strip().splitlines()
        same = without_seconds(base / "whole") == without_seconds(base / "torn")
        print(
            json.dumps(
                {"images": given.images, "kills": kills, "rows_after_each": rows, "same": same, "end": output[-1:]}
            )
        )


if __name__ == "__main__":
    main()

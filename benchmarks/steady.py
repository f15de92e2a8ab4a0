"""Check memory and speed of a long scan of many small images: the first tenth compared with the last.

    python -m benchmarks.steady [--images 2000]

Memory is that of `hidascan` with its decoding processes, each page counted once.
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

import numpy as np
from PIL import Image

from benchmarks.memory import tree_memory


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        soft = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((224, 224))
        soft.save(folder / f"{number:05d}.jpg", quality=int(rng.integers(60, 96)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "out.jsonl"
        make_pictures(Path(name) / "in", given.images)
        command = [sys.executable, "-m", "hidascan.cli", f"{name}/in", "--jsonl", str(rows), "-q"]
        running = subprocess.Popen(command)
        seen: list[tuple[float, int, int]] = []  # seconds, rows, MB
        while running.poll() is None:
            done = rows.read_bytes().count(b"\n") if rows.exists() else 0
            seen.append((time.monotonic(), done, tree_memory(running.pid)))
            time.sleep(0.5)
    tenth = given.images // 10
    parts = {"first": [s for s in seen if 0 < s[1] <= tenth], "last": [s for s in seen if s[1] > given.images - tenth]}
    found: dict[str, object] = {"images": given.images, "part": tenth}
    for part, samples in parts.items():
        speed = (samples[-1][1] - samples[0][1]) / max(samples[-1][0] - samples[0][0], 1e-9)
        found[part] = {"MB": round(statistics.mean(s[2] for s in samples)), "images/s": round(speed, 2)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Measure what the page shows while a large photo is scanned: the first verdict, and whether the time left is true.

    python -m benchmarks.serve_progress [--megapixels 12 31] [--weights NAME|PATH]

Starts its own service, scans a small picture first, and prints for each size the seconds until the first verdict and
until the row, and the seconds left as shown after a quarter of the views, beside those that it then took.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.service import running_service
from benchmarks.speed import make_picture

EVENTS = {"Accept": "text/event-stream"}


def measure(base: str, picture: Path) -> dict[str, float]:
    """Scan a picture and return the seconds of each moment."""
    started, seconds = time.perf_counter(), {}
    files = [("file", (picture.name, picture.read_bytes()))]
    with httpx.stream("POST", f"{base}/v1/scan", files=files, headers=EVENTS, timeout=900) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data:"):
                continue
            now, data = time.perf_counter() - started, json.loads(line[5:])
            if data.get("verdict"):
                seconds.setdefault("first verdict", now)
            if data.get("patches") and data["done"] >= data["patches"] / 4 and data["seconds_left"]:
                seconds.setdefault("left at a quarter, shown", data["seconds_left"])
                seconds.setdefault("quarter", now)
    seconds["row"] = time.perf_counter() - started
    if "quarter" in seconds:
        seconds["left at a quarter, true"] = seconds["row"] - seconds.pop("quarter")
    return {name: round(value, 2) for name, value in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, nargs="+", default=[12, 31])
    parser.add_argument("--weights", default="hidascan-b")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_service("--weights", given.weights) as (base, _):
        for megapixels in (1, *given.megapixels):
            picture = Path(folder) / f"{megapixels}.jpg"
            make_picture(picture, megapixels, megapixels)
            print(json.dumps({"megapixels": megapixels, **measure(base, picture)}), flush=True)


if __name__ == "__main__":
    main()

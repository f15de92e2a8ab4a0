"""Compare the speed and memory of this checkout with those of another one, alternately on one machine.

    git worktree add ../other COMMIT && python -m benchmarks.against ../other [--rounds 12] [--scans 3]

Prints the medians of each: seconds of --help and to the first verdict, views per second, peak memory in MB, and images
per second of the service. Both run with this environment's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.speed import make_picture

HERE = Path(__file__).parent.parent
SCAN = """
import resource, sys, time
from hidascan import Scanner
scanner, views = Scanner(), []
list(scanner.scan(sys.argv[1:2]))
started = time.perf_counter()
list(scanner.scan(sys.argv[1:], views.append))
print(sum(views) / (time.perf_counter() - started), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def start(checkout: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once, not at every start
    return subprocess.Popen([sys.executable, *arguments], cwd=checkout, env=environment, stdout=subprocess.PIPE)


def seconds_of_help(checkout: Path) -> float:
    started = time.perf_counter()
    start(checkout, "-m", "hidascan.cli", "--help").communicate()
    return time.perf_counter() - started


def seconds_to_verdict(checkout: Path, picture: str) -> float:
    started = time.perf_counter()
    with start(checkout, "-m", "hidascan.cli", picture, "--jsonl", "-") as running:
        running.stdout.readline()
        took = time.perf_counter() - started
        running.terminate()
    return took


def scan(checkout: Path, pictures: list[str]) -> tuple[float, float]:
    output = start(checkout, "-c", SCAN, *pictures).communicate()[0].split()
    return float(output[0]), float(output[1])


def images_per_second_of_service(checkout: Path, pictures: list[str]) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    parts = [("file", (Path(one).name, Path(one).read_bytes())) for one in pictures]
    running = start(checkout, "-m", "hidascan.cli", "serve", "--port", str(port))
    try:
        with httpx.Client(timeout=600, transport=httpx.HTTPTransport(retries=8)) as client:
            client.post(f"{address}/v1/scan", files=parts[:1]).raise_for_status()  # once the weights are loaded
            started = time.perf_counter()
            client.post(f"{address}/v1/scan", files=parts).raise_for_status()
            return len(pictures) / (time.perf_counter() - started)
    finally:
        running.terminate()
        running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--scans", type=int, default=3)
    given = parser.parse_args()
    sides = {"other": given.other.resolve(), "this": HERE}
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        pictures = [f"{folder}/{number}.jpg" for number in range(9)]
        for number, path in enumerate(pictures):
            make_picture(Path(path), 4 if number == 8 else 1, number)
        for round_ in range(given.rounds + 1):  # the first warms up
            for name in list(sides)[:: 1 if round_ % 2 else -1]:
                row = {"help": seconds_of_help(sides[name]), "verdict": seconds_to_verdict(sides[name], pictures[0])}
                for what, value in row.items() if round_ else ():
                    figures[name].setdefault(what, []).append(value)
        for _ in range(given.scans):
            for name, checkout in sides.items():
                measured = (*scan(checkout, pictures), images_per_second_of_service(checkout, pictures))
                for what, value in zip(("views/s", "MB", "images/s of the service"), measured, strict=True):
                    figures[name].setdefault(what, []).append(value)
    for name, of_side in figures.items():
        print(json.dumps({name: {what: round(statistics.median(values), 3) for what, values in of_side.items()}}))


if __name__ == "__main__":
    main()

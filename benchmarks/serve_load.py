"""Test `hidascan serve` under load: many clients, with some broken, truncated or very large requests.

    python -m benchmarks.serve_load [--requests 200] [--clients 16] [--weights NAME|PATH]

Starts its own service, and prints requests, responses, times and memory.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import socket
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.memory import peak_resident
from benchmarks.service import running_service

EXAMPLES = Path(__file__).parent.parent / "examples"
KINDS = {"plain": 0.7, "several": 0.12, "malformed": 0.08, "cut off": 0.05, "30 MP": 0.05}
EXPECTED = {"plain": 200, "several": 200, "malformed": 400, "cut off": 0, "30 MP": 200}


def make_bodies() -> dict[str, list[tuple[str, bytes]]]:
    """Make the files of each kind of request."""
    plain = [(path.name, path.read_bytes()) for path in sorted(EXAMPLES.glob("*.jpg"))]
    rng, large = np.random.default_rng(0), io.BytesIO()
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), 24, 0), 21, 1)
    Image.fromarray(pixels).save(large, "JPEG", quality=85)
    return {
        "plain": plain,
        "several": plain,
        "malformed": [("x", b"")],
        "cut off": plain,
        "30 MP": [("large.jpg", large.getvalue())],
    }


def ask(base: str, kind: str, files: list[tuple[str, bytes]], number: int) -> tuple[str, int, int, float]:
    """Send one request; return its kind, status (0 for one that we cut off), rows, and seconds."""
    started = time.perf_counter()
    if kind == "cut off":
        with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2]))) as cut:
            cut.sendall(
                b"POST /v1/scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            )
            cut.sendall(b"Content-Length: 90000\r\n\r\n--b\r\n" + files[0][1][:2000])
        return kind, 0, 0, time.perf_counter() - started
    if kind == "malformed":
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = httpx.post(f"{base}/v1/scan", content=b"--b\r\nnonsense", headers=headers, timeout=600)
    else:
        chosen = files if kind == "several" else [files[number % len(files)]]
        answer = httpx.post(f"{base}/v1/scan", files=[("file", one) for one in chosen], timeout=600)
    rows = [json.loads(line) for line in answer.text.splitlines()] if answer.status_code == 200 else []
    if answer.status_code == 200:
        assert [row["path"] for row in rows] == [name for name, _ in chosen], "rows out of order"
        assert all(row["status"] == "ok" for row in rows)
    return kind, answer.status_code, len(rows), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--weights", default="hidascan-b")
    given = parser.parse_args()
    with running_service("--weights", given.weights, "--timeout", "600") as (base, service):
        bodies, draw = make_bodies(), random.Random(0)
        kinds = draw.choices(list(KINDS), list(KINDS.values()), k=given.requests)
        ask(base, "plain", bodies["plain"], 0)
        before, started = peak_resident(service.pid), time.perf_counter()
        with ThreadPoolExecutor(given.clients) as clients:
            found = list(clients.map(lambda one: ask(base, one[1], bodies[one[1]], one[0]), enumerate(kinds)))
        seconds, after = time.perf_counter() - started, peak_resident(service.pid)
        service.send_signal(signal.SIGINT)
        code = service.wait(60)
    print(
        f"{given.requests} requests by {given.clients} clients in {seconds:.1f} s; "
        f"memory {before} MB after the first, {after} MB at most; exit code {code}\n"
    )
    print("| kind | requests | statuses | rows | seconds, median | most |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        of_kind = [one for one in found if one[0] == kind]
        statuses = Counter(status for _, status, _, _ in of_kind)
        took = [one[3] for one in of_kind] or [0.0]
        rows = sum(one[2] for one in of_kind)
        print(
            f"| {kind} | {len(of_kind)} | {dict(statuses)} | {rows} | {statistics.median(took):.2f} | {max(took):.2f} |"
        )
        assert set(statuses) <= {EXPECTED[kind], 429}, f"{kind}: {statuses}"


if __name__ == "__main__":
    main()

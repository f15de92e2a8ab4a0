"""Speed of the whole scan against its limit, the bare network on ready tensors; interleaved, in one run.

    python benchmarks/scan_speed.py PATH... [--rounds 3] [--precision bf16] [--json FILE]

Both sides use the same network, batch size and dtype. Views are patches plus one thumbnail an image. The ratio is of
the medians over the rounds; peak memory is of this process, both sides included.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch

from hidascan import Scanner, ScanOptions


def limit(scanner: Scanner, views: int) -> float:
    """Views a second of the network alone, on at least `views` views in full batches."""
    engine = scanner._engine
    batch = torch.randint(0, 256, (engine.batch_size, 224, 224, 3), dtype=torch.uint8, device=engine.device)
    batch, is_global = batch.permute(0, 3, 1, 2), torch.zeros(engine.batch_size, dtype=torch.bool, device=engine.device)
    corners = torch.zeros(engine.batch_size, 2, dtype=torch.int64, device=engine.device)
    passes = max(1, round(views / engine.batch_size))
    with torch.inference_mode():
        started = time.perf_counter()
        for _ in range(passes):
            [output.cpu() for output in engine.network.views(batch, is_global, corners)]
    return passes * engine.batch_size / (time.perf_counter() - started)


def whole_scan(scanner: Scanner, paths: list[str]) -> tuple[float, int]:
    """Views a second from files on disk to findings, and the number of views."""
    started = time.perf_counter()
    views = sum(finding.patches + 1 for finding in scanner.scan(paths) if finding.status == "ok")
    return views / (time.perf_counter() - started), views


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
    limit(scanner, 1)  # warm up
    scans, limits = [], []
    for _ in range(given.rounds):
        speed, views = whole_scan(scanner, given.paths)
        scans.append(speed)
        limits.append(limit(scanner, min(views, 400)))
    figures = {
        "views": views,
        "batch_size": scanner._engine.batch_size,
        "dtype": str(scanner._engine.network.backbone.vit.blocks[0].mlp.fc1.weight.dtype),
        "device": str(scanner._engine.device),
        "scan_views_per_second": round(statistics.median(scans), 2),
        "limit_views_per_second": round(statistics.median(limits), 2),
        "ratio": round(statistics.median(scans) / statistics.median(limits), 4),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

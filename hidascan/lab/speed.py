"""Speed of the whole scan against its limit, the bare network on ready tensors; and what bf16 does to the scores."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hidascan.scanner import Scanner

_LIMIT_VIEWS = 400  # at most, a round of the bare network


@dataclass(frozen=True)
class SpeedFigures:
    """Views are patches plus one thumbnail an image; the speeds are medians over the rounds, in views a second, and
    ratio is of the two. peak_memory_mb is of this process, both sides included."""

    views: int
    batch_size: int
    dtype: str
    device: str
    scan_views_per_second: float
    limit_views_per_second: float
    ratio: float
    peak_memory_mb: int


@dataclass(frozen=True)
class PrecisionFigures:
    """Differences between the scores of the same images by two scanners, and how many verdicts differ."""

    images: int
    mean: float
    largest: float
    verdicts: int


def measure_speed(
    scanner: Scanner, paths: list[str], rounds: int = 3, on_image: Callable[[], None] = lambda: None
) -> SpeedFigures:
    """Both sides in turns, in one process, with the same network, batch size and dtype."""
    limit(scanner, 1)  # warm up
    scans, limits, views = [], [], 0
    for _ in range(rounds):
        speed, views = whole_scan(scanner, paths, on_image)
        scans.append(speed)
        limits.append(limit(scanner, min(views, _LIMIT_VIEWS)))
    scan, bare = statistics.median(scans), statistics.median(limits)
    return SpeedFigures(
        views,
        scanner.batch_size,
        str(scanner.dtype).removeprefix("torch."),
        str(scanner.device),
        round(scan, 2),
        round(bare, 2),
        round(scan / bare, 4),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def limit(scanner: Scanner, views: int) -> float:
    """Views a second of the network alone, on at least `views` views in full batches."""
    size, side, device = scanner.batch_size, scanner.network.config.patch, scanner.device
    batch = torch.randint(0, 256, (size, side, side, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    is_global = torch.zeros(size, dtype=torch.bool, device=device)
    corners = torch.zeros(size, 2, dtype=torch.int64, device=device)
    passes = max(1, round(views / size))
    with torch.inference_mode():
        started = time.perf_counter()
        for _ in range(passes):
            [output.cpu() for output in scanner.views(batch, is_global, corners)]
    return passes * size / (time.perf_counter() - started)


def whole_scan(scanner: Scanner, paths: list[str], on_image: Callable[[], None] = lambda: None) -> tuple[float, int]:
    """Views a second from files on disk to findings, and the number of views."""
    started, views = time.perf_counter(), 0
    for finding in scanner.scan(paths):
        views += finding.patches + 1 if finding.status == "ok" else 0
        on_image()
    return views / (time.perf_counter() - started), views


def compare_precisions(
    scanner: Scanner, paths: list[str], precision: str = "fp32", on_image: Callable[[], None] = lambda: None
) -> PrecisionFigures:
    """The scores of `scanner` against those of the same weights in another precision."""
    other = Scanner(dataclasses.replace(scanner.options, precision=precision))
    found = []
    for pair in zip(scanner.scan(paths), other.scan(paths), strict=True):
        on_image()
        if pair[0].status == "ok":
            found.append(pair)
    differences = np.array([abs(a.score - b.score) for a, b in found])
    verdicts = sum(a.verdict != b.verdict for a, b in found)
    return PrecisionFigures(len(found), float(differences.mean()), float(differences.max()), verdicts)

"""Measure the cost of an image, the speed of a scan compared with the network alone, and the effect of bf16."""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from hidascan.detectors.base import Positions
from hidascan.detectors.checkpoint import load_detector
from hidascan.examination import tensors_of
from hidascan.image.views import cut_views
from hidascan.scanner import Scanner

_LIMIT_VIEWS = 400  # maximum number of views per round of the network alone
SIZE = (768, 1024)  # height and width of the measured image, pixels: 20 patches
_ROUNDS = 5  # of the measured time


@dataclass(frozen=True)
class SpeedFigures:
    """Speeds in views per second, medians over rounds, and their ratio.

    Views are patches plus one thumbnail per image. `peak_memory_mb` covers this process in both measurements.
    """

    views: int
    scan_views_per_second: float
    limit_views_per_second: float
    ratio: float
    peak_memory_mb: int


def measure_speed(scanner: Scanner, paths: list[str], rounds: int) -> SpeedFigures:
    """Measure scan and network alone alternately, in one process, with the same batch size and dtype."""
    import resource  # here, as Windows has none

    network_speed(scanner, 1)  # warm up
    scans, limits, views = [], [], 0
    for _ in range(rounds):
        speed, views = scan_speed(scanner, paths)
        scans.append(speed)
        limits.append(network_speed(scanner, min(views, _LIMIT_VIEWS)))
    scan, bare = statistics.median(scans), statistics.median(limits)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
    return SpeedFigures(views, round(scan, 2), round(bare, 2), round(scan / bare, 4), peak)


def network_speed(scanner: Scanner, views: int) -> float:
    """Return the speed of the network alone, views per second, on about `views` views in full batches."""
    size, side, device = scanner.batch_size, scanner.plan.side or 224, scanner.device
    batch = torch.randint(0, 256, (size, side, side, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    is_thumbnail = torch.zeros(size, dtype=torch.bool, device=device)
    where = Positions(is_thumbnail, torch.zeros(size, 2, dtype=torch.int64, device=device))
    passes = max(1, round(views / size))
    with torch.inference_mode():
        started = time.perf_counter()
        for _ in range(passes):
            [rows.cpu() for rows in scanner.encode(batch, where).values()]
    return passes * size / (time.perf_counter() - started)


def scan_speed(scanner: Scanner, paths: list[str]) -> tuple[float, int]:
    """Return the speed from files to findings, views per second, and the number of views."""
    batches: list[int] = []
    started = time.perf_counter()
    for _ in tqdm(scanner.scan(paths, batches.append), total=len(paths), desc="speed", disable=None):
        pass
    return sum(batches) / (time.perf_counter() - started), sum(batches)


def compare_precisions(scanner: Scanner, paths: list[str]) -> tuple[float, float, int]:
    """Compare with full precision: mean and largest difference of scores, and number of different verdicts."""
    full = Scanner(dataclasses.replace(scanner.options, precision="fp32"))
    scanned = tqdm(scanner.scan(paths), total=len(paths), desc="precision", disable=None)
    pairs = [pair for pair in zip(scanned, full.scan(paths), strict=True) if pair[0].status == "ok"]
    differences = np.array([abs((a.score or 0.0) - (b.score or 0.0)) for a, b in pairs])
    return float(differences.mean()), float(differences.max()), sum(a.verdict != b.verdict for a, b in pairs)


@dataclass(frozen=True)
class Cost:
    """Cost of an image of SIZE, with all views of the detector."""

    parameters: int  # number of parameters, including frozen parts
    trained: int  # number of trained parameters, without what is fitted in closed form and stored in buffers
    gflops: float  # floating-point operations, in 10^9; a multiply-add counts as two
    milliseconds: float  # median time from pixels to finding, ms


def cost_of(weights: Path, scanner: Scanner) -> Cost:
    """Measure the cost of weights; `scanner` has them loaded."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    detector, _ = load_detector(weights)  # in full precision and unpacked, to count operations
    views = cut_views(pixels, detector.plan)
    # Plain attention, as the counter does not know the fused one of CPUs.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        detector.decide(detector.encode(*tensors_of(views, range(len(views)))))
    parameters = list(detector.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        scanner.scan_array(pixels)
        times.append(time.perf_counter() - started)
    total = sum(parameter.numel() for parameter in parameters)
    return Cost(total, trained, counter.get_total_flops() / 1e9, 1000 * statistics.median(times))

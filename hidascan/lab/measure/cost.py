"""Measure the cost of a detector: parameters, floating-point operations and milliseconds per image."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hidascan.detectors.base import Positions
from hidascan.detectors.checkpoint import load_detector
from hidascan.image.views import cut_views
from hidascan.scanner import Scanner

SIZE = (768, 1024)  # height and width of the measured image, pixels: 20 patches
_ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of an image of SIZE, with all views of the detector.

    Attributes:
        parameters: Number of parameters, including frozen parts.
        trained: Number of trained parameters.
        gflops: Floating-point operations, in 10^9; a multiply-add counts as two.
        milliseconds: Median time from pixels to finding, ms.
    """

    parameters: int
    trained: int
    gflops: float
    milliseconds: float


def cost_of(weights: Path, scanner: Scanner) -> Cost:
    """Measure the cost of weights; `scanner` has them loaded."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    detector, _ = load_detector(weights)  # in full precision and unpacked, to count operations
    views = cut_views(pixels, detector.plan)
    batch = torch.from_numpy(np.stack(views.pixels)).permute(0, 3, 1, 2)
    is_thumbnail = torch.tensor([views.thumbnail and number == 0 for number in range(len(views))])
    corners = torch.tensor([[box.top, box.left] for box in views.boxes])
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        detector.decide(detector.encode(batch, Positions(is_thumbnail, corners)))
    parameters = list(detector.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        scanner.scan_array(pixels)
        times.append(time.perf_counter() - started)
    total = sum(parameter.numel() for parameter in parameters)
    return Cost(total, trained, counter.get_total_flops() / 1e9, 1000 * statistics.median(times))

"""Measure the overhead of a fleet scan on this machine, and estimate the machines for a collection of images.

    python -m benchmarks.fleet [--images 60] [--side 1000] [--weights NAME|PATH] [--out DIR]
        [--views-per-second N] [--gpu-price P] [--core-price P]

Measures in turn, on generated JPEGs: a local scan and one by Ray with a single actor (less the time of a scan of one
image), decoding on one core, and bytes and views per image. From these it estimates the time for ten million images on
N GPUs, and whether network, decoding or bandwidth is the limit. Without a GPU, its views per second are an argument.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hidascan.options import ScanOptions
from hidascan.runners.ray import cluster, scanned
from hidascan.scanner import Scanner

COLLECTION = 10_000_000  # images
HOUR = 3600


@dataclass(frozen=True)
class Measured:
    """Cost of one image.

    Attributes:
        views: Number of views.
        decoded: Images per second that one core decodes and cuts.
        bytes: Size of the file, bytes.
        gpu_views: Views per second of one GPU.
    """

    views: float
    decoded: float
    bytes: float
    gpu_views: float

    def cores(self, gpus: int) -> int:
        """Return the number of cores that keep a number of GPUs busy."""
        return math.ceil(gpus * self.gpu_views / self.views / self.decoded)

    def rate(self, gpus: int, cores: int, gigabits: float) -> tuple[float, str]:
        """Return images per second, and the name of the limit."""
        limits = {
            "GPUs": gpus * self.gpu_views / self.views,
            "decoding": cores * self.decoded,
            "bandwidth": gigabits * 1e9 / 8 / self.bytes,
        }
        limit = min(limits, key=lambda name: limits[name])
        return limits[limit], limit


def make_images(folder: Path, count: int, side: int) -> list[str]:
    """Write JPEGs of quality 90 with shapes and grain."""
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = rng.uniform(0, 255, (side // 40, side // 40, 3)).astype(np.float32)
        pixels = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (side, side, 3))
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(str(path))
    return paths


def by_local(scanner: Scanner, paths: list[str]) -> float:
    """Return the images per second of the local runner, with the network loaded."""
    started = time.perf_counter()
    count = sum(1 for _ in scanner.scan(paths))
    return count / (time.perf_counter() - started)


def by_ray(scanner: Scanner, options: ScanOptions, paths: list[str]) -> float:
    """Return the seconds from a running cluster to the last row, with one actor."""
    with cluster(None):
        started = time.perf_counter()
        described = scanner.info, scanner.preparer
        assert len(list(scanned(enumerate(paths), options, described, actors=1))) == len(paths)
        return time.perf_counter() - started


def decoded_per_second(scanner: Scanner, paths: list[str]) -> tuple[float, float]:
    """Return the images per second that one core decodes and cuts, and the views per image."""
    scanner.preparer.file(paths[0])
    started, views = time.perf_counter(), 0
    for path in paths:
        job = scanner.preparer.file(path)
        views += len(job.views or ())
    return len(paths) / (time.perf_counter() - started), views / len(paths)


def as_table(measured: Measured, gigabits: float, gpu_price: float, core_price: float, fixed_cores: int) -> str:
    """Return the costs of ten million images, with a fixed number of cores per GPU and with as many as it can use."""
    lines = [
        f"| GPUs | cores | images per second | hours for {COLLECTION:,} | limit | cost |",
        "|--:|--:|--:|--:|---|--:|",
    ]
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        for cores in (gpus * fixed_cores, measured.cores(gpus)):
            rate, limit = measured.rate(gpus, cores, gigabits)
            hours = COLLECTION / rate / HOUR
            cost = hours * (gpus * gpu_price + cores * core_price)
            lines.append(f"| {gpus} | {cores} | {rate:,.0f} | {hours:,.1f} | {limit} | {cost:,.0f} |")
    return "\n".join(lines)


def plot(measured: Measured, gigabits: float, fixed_cores: int, path: Path) -> None:
    """Plot images per second by number of GPUs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    gpus = np.arange(1, 65)
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for label, cores in ((f"{fixed_cores} cores per GPU", None), ("as many cores as they can use", 0)):
        rates = [measured.rate(n, n * fixed_cores if cores is None else measured.cores(n), gigabits)[0] for n in gpus]
        axes.plot(gpus, rates, label=label)
    axes.axhline(gigabits * 1e9 / 8 / measured.bytes, color="grey", linestyle=":", label=f"{gigabits:g} Gbit/s")
    axes.set(xlabel="GPUs", ylabel="images per second", xscale="log", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--weights", default="hidascan-b")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument(
        "--views-per-second", type=float, default=6000, help="speed of one GPU: assumed, 20 %% of an H100's peak"
    )
    parser.add_argument("--gigabits", type=float, default=25)
    parser.add_argument("--cores-per-gpu", type=int, default=8)
    parser.add_argument("--gpu-price", type=float, default=3.0, help="per hour")
    parser.add_argument("--core-price", type=float, default=0.04, help="per hour")
    given = parser.parse_args()
    options = ScanOptions(str(Path(given.weights).resolve()) if Path(given.weights).exists() else given.weights)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_images(Path(folder), given.images, given.side)
        scanner = Scanner(options)
        local, start, fleet = [], [], []
        for _ in range(given.rounds):
            local.append(by_local(scanner, paths))
            start.append(by_ray(scanner, options, paths[:1]))
            fleet.append((len(paths) - 1) / (by_ray(scanner, options, paths) - start[-1]))
        decoded, views = decoded_per_second(scanner, paths)
        size = sum(Path(path).stat().st_size for path in paths) / len(paths)
    measured = Measured(views, decoded, size, given.views_per_second)
    figures = {
        "images": given.images,
        "side": given.side,
        "local_images_s": [round(rate, 3) for rate in local],
        "ray_images_s": [round(rate, 3) for rate in fleet],
        "ray_one_image_s": [round(seconds, 1) for seconds in start],
        "ratio": round(float(np.median(fleet) / np.median(local)), 3),
        "decoded_per_core_s": round(decoded, 2),
        "views_per_image": round(views, 1),
        "bytes_per_image": round(size),
        "gpu_views_s_assumed": given.views_per_second,
        "cores_per_gpu": measured.cores(1),
    }
    print(json.dumps(figures))
    print(as_table(measured, given.gigabits, given.gpu_price, given.core_price, given.cores_per_gpu))
    plot(measured, given.gigabits, given.cores_per_gpu, given.out / "fleet.png")


if __name__ == "__main__":
    main()

"""Measure the speed of a scan: from files on disk, of the network alone (its limit), of each stage, of a loop with timm.

    python -m benchmarks.speed [--sizes 1 4 12 24] [--many 500] [--rounds 3] [--json FILE]

Sizes are megapixels, JPEG and PNG of each; --many is a folder of images of 1 MP, --small of 0.25 MP. All parts of a row
are measured alternately in one process, medians over the rounds, on at most --most views. Memory is the peak of
`hidascan` on the same files, with its decoding processes, each page counted once. Pictures are made of `examples/`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from PIL import Image

from benchmarks.memory import tree_memory
from hidascan import Scanner, ScanOptions
from hidascan.detectors.base import Positions
from hidascan.geometry import ViewPlan
from hidascan.image.isolation import decoders
from hidascan.image.jpeg_history import jpeg_trace
from hidascan.image.views import cut_views
from hidascan.lab.measure.speed import network_speed, scan_speed

EXAMPLES = Path(__file__).parent.parent / "examples"


def make_picture(path: Path, megapixels: float, seed: int) -> None:
    """Write a mosaic of examples, 4 : 3, with the grain of photos of that size."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    width = round(megapixels * 1e6 / height)
    sources = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(EXAMPLES.glob("*.[jp][pn]g"))]
    rng = np.random.default_rng(seed)
    tile = cv2.resize(sources[seed % len(sources)], (1024, 768), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    tile = np.clip(tile + rng.normal(0, 4, tile.shape), 0, 255).astype(np.uint8)
    pixels = np.tile(tile, (-(-height // 768), -(-width // 1024), 1))[:height, :width]
    Image.fromarray(pixels).save(path, **({"quality": 90} if path.suffix == ".jpg" else {"compress_level": 3}))


def make_case(folder: Path, suffix: str, megapixels: float, count: int) -> list[str]:
    folder.mkdir()
    paths = [folder / f"{number:04d}.{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        make_picture(path, megapixels, number)
    return [str(path) for path in paths]


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


class PlainLoop:
    """A loop with timm's own ViT and normalisation: open, tile, one patch per pass, with or without bf16."""

    def __init__(self, name: str, most: int):
        self.vit, self.most = timm.create_model(name, num_classes=0).eval(), most
        mean, std = (torch.tensor(self.vit.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.normalise = lambda x: (x / 255 - mean) / std

    def speed(self, paths: list[str], bf16: bool) -> float:
        """Return views per second."""
        views, started = 0, time.perf_counter()
        for path in paths:
            for view in cut_views(np.asarray(Image.open(path).convert("RGB")), ViewPlan()).pixels:
                x = torch.from_numpy(np.array(view)).permute(2, 0, 1)[None].float()
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    self.vit(self.normalise(x))
                views += 1
                if views >= self.most:
                    return views / (time.perf_counter() - started)
        return views / (time.perf_counter() - started)


def stages(scanner: Scanner, path: str, views: int) -> dict[str, float]:
    """Return the seconds of each stage for one image, in sequence; those of the network are scaled from one batch."""
    found, side, network = {}, scanner.plan.side, scanner.detector
    started = time.perf_counter()
    image = decoders().decode(path, 10**9)
    found["decode"] = time.perf_counter() - started
    found["JPEG trace"] = timed(lambda: jpeg_trace(image.pixels))
    started = time.perf_counter()
    whole = cut_views(image.pixels, scanner.plan)
    cut = whole.pixels
    found["cut"] = time.perf_counter() - started
    batch = np.empty((scanner.batch_size, side, side, 3), np.uint8)
    share = views / scanner.batch_size
    some = (cut * scanner.batch_size)[: scanner.batch_size]
    found["fill a batch"] = share * timed(lambda: np.stack(some, out=batch))
    x = torch.from_numpy(batch).permute(0, 3, 1, 2)
    found["transfer"] = share * timed(lambda: x.to(scanner.device))
    x, none = x.to(scanner.device), torch.zeros(len(x), dtype=torch.bool, device=scanner.device)
    where = Positions(none, torch.zeros(len(x), 2, dtype=torch.int64, device=scanner.device))
    with torch.inference_mode():
        network.backbone(x)
        found["backbone"] = share * timed(lambda: network.backbone(x))
        found["backbone and projection"] = share * timed(lambda: network.encode_tokens(x, none))
        found["residuals"] = share * timed(lambda: network.encode_pixels(x, where))
        rows = network.encode(x[:1], Positions(none[:1], where.corners[:1]))
        encoded = {name: part.expand(views, *part.shape[1:]).contiguous() for name, part in rows.items()}
        found["decide"] = timed(lambda: network.decide(encoded))
        found["TFL"] = timed(lambda: network.locate(encoded, whole.grid))
    return {name: round(seconds, 4) for name, seconds in found.items()}


def peak_memory(paths: list[str], *options: str) -> int:
    """Return the peak memory of a scan of these files with its decoding processes, MB."""
    command = [sys.executable, "-m", "hidascan.cli", "-q", *options, *paths]
    running, peak = subprocess.Popen(command), 0
    done = threading.Event()
    threading.Thread(target=lambda: (running.wait(), done.set()), daemon=True).start()
    while not done.wait(0.1):
        peak = max(peak, tree_memory(running.pid))
    return peak


def measure(scanner: Scanner, loop: PlainLoop, name: str, paths: list[str], given: argparse.Namespace) -> dict:
    limits, scans, plain, plain_bf16, views = [], [], [], [], 0
    for _ in range(given.rounds):
        speed, views = scan_speed(scanner, paths)
        scans.append(views / speed)
        limits.append(network_speed(scanner, min(views, given.most)))
        if len(paths) > 1:
            plain.append(loop.speed(paths, False))
            plain_bf16.append(loop.speed(paths, True))
    seconds = statistics.median(scans)
    row = {"case": name, "images": len(paths), "views": views, "seconds": round(seconds, 2)}
    row |= {"views/s": round(views / seconds, 2), "limit": round(statistics.median(limits), 2)}
    row["ratio"] = round(statistics.median(views / s / bare for s, bare in zip(scans, limits, strict=True)), 3)
    if plain:
        row |= {"plain": round(statistics.median(plain), 2), "plain bf16": round(statistics.median(plain_bf16), 2)}
    if given.memory:
        row["MB"] = peak_memory(paths)
    if given.stages:
        row["stages"] = stages(scanner, paths[0], 1 + views // len(paths))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="*", default=[0.25, 1, 4, 12, 24])
    parser.add_argument("--suffixes", nargs="+", default=["jpg", "png"])
    parser.add_argument("--many", type=int, default=500, help="images of 1 MP")
    parser.add_argument("--small", type=int, default=500, help="images of 0.25 MP")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=256, help="largest number of views per side of a comparison")
    parser.add_argument("--weights", default="hidascan-b")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--no-stages", dest="stages", action="store_false")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = ScanOptions(
        given.weights,
        device=given.device,
        precision=given.precision,
        batch_size=given.batch_size,
        max_pixels=10**9,
    )
    scanner = Scanner(options)
    loop = PlainLoop(scanner.detector.config.backbone, given.most)
    network_speed(scanner, 1)  # warm up
    cases = [(f"{size:g} MP {suffix}", suffix, size, 1) for size in given.sizes for suffix in given.suffixes]
    cases += [(f"{count} of {size:g} MP", "jpg", size, count) for count, size in ((given.many, 1), (given.small, 0.25))]
    rows = []
    with tempfile.TemporaryDirectory() as base:
        for number, (name, suffix, size, count) in enumerate(cases):
            if count:
                paths = make_case(Path(base) / str(number), suffix, size, count)
                rows.append(measure(scanner, loop, name, paths, given))
                print(json.dumps(rows[-1]), flush=True)
    singles = [(row["case"], row["seconds"]) for row in rows if row["images"] == 1]
    fits = {suffix: fit(singles, suffix) for suffix in given.suffixes}
    settings = {"dtype": str(scanner.dtype), "device": str(scanner.device)}
    settings |= {"batch_size": scanner.batch_size, "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps({"settings": settings, "fits": fits}))
    if given.json:
        given.json.write_text(json.dumps({"settings": settings, "rows": rows, "fits": fits}, indent=1) + "\n")


def fit(singles: list[tuple[str, float]], suffix: str) -> dict[str, float]:
    """Fit seconds to megapixels: slope, intercept, and the largest residual as a share of its value."""
    points = [
        (float(case.split()[0]), s) for case, s in singles if case.endswith(suffix) and float(case.split()[0]) >= 1
    ]
    if len(points) < 3:
        return {}
    size, seconds = np.array(points).T
    slope, start = np.polyfit(size, seconds, 1)
    off = np.abs(slope * size + start - seconds) / seconds
    return {"s/MP": round(slope, 3), "s": round(start, 3), "worst": round(off.max(), 3)}


if __name__ == "__main__":
    main()

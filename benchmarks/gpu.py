"""Measure the speed of the network and of entire scans on a GPU.

    python -m benchmarks.gpu [--device cuda] [--batch-sizes 64 128 256] [--sizes 0.25 1 12] [--json FILE]

Prints views per second for the shipped weights and a ViT-L/14 (random weights), as a share of the measured bf16 matrix
peak; alternatives that may be faster; and, by image size, decoding and entire scans, full and --fast, against the
network. With --device cpu it measures all parts that need no GPU, and lists the others.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.speed import make_case
from hidascan import Scanner, ScanOptions
from hidascan.detectors.backbones import FrozenViT
from hidascan.detectors.base import Positions
from hidascan.detectors.hidanet.network import HiDANet, HiDANetConfig

LARGE = HiDANetConfig("vit_large_patch14_clip_224.openai", taps=(8, 12, 16, 20, 24))
_SIDE = 8192


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(act, device: torch.device, times: int) -> float:
    act()
    wait_for(device)
    started = time.perf_counter()
    for _ in range(times):
        act()
    wait_for(device)
    return (time.perf_counter() - started) / times


def matrix_peak(device: torch.device, side: int, passes: int) -> float:
    """Return the bf16 operations per second of one large product of matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, passes)


def operations(network: HiDANet) -> float:
    """Return the operations for one view: two per token and weight of the blocks, and those of attention."""
    with torch.device("meta"):  # packed layers have no parameters to count
        backbone = FrozenViT(network.config.backbone, network.config.taps, network.config.side)
    blocks, tokens = backbone.vit.blocks, backbone.grid**2 + 1
    weights = sum(p.numel() for p in blocks.parameters() if p.ndim == 2)
    return 2 * tokens * weights + len(blocks) * 4 * tokens**2 * backbone.dim


def one_row(name: str, network: HiDANet, device: torch.device, size: int, peak: float, passes: int) -> dict:
    side = network.config.side
    views = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, device=device)
    corners = torch.zeros(size, 2, dtype=torch.int64, device=device)
    where = Positions(torch.arange(size, device=device) == 0, corners)
    with torch.inference_mode():
        whole = size / seconds_of(lambda: network.encode(views, where), device, passes)
        backbone = size / seconds_of(lambda: network.backbone(views), device, passes)
    share = backbone * operations(network) / peak
    speeds = {"views/s": round(whole, 1), "backbone alone": round(backbone, 1)}
    return {"network": name, "batch": size, **speeds, "share of the peak": round(share, 3)}


def network_row(
    name: str, network: HiDANet, device: torch.device, batch_sizes: list[int], peak: float, passes: int
) -> dict:
    """Return the row of the fastest batch size."""
    rows = [one_row(name, network, device, size, peak, passes) for size in batch_sizes]
    return max(rows, key=lambda row: row["views/s"])


def as_it_is(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Encode views that are already on the device, the baseline."""
    here = views.to(network.backbone.mean.device)
    return lambda: network.backbone(here)


def copied(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Copy each batch from ordinary memory before it is encoded."""
    return lambda: network.backbone(views.to(network.backbone.mean.device))


def pinned_ahead(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Copy the next batch from pinned memory on a separate stream while this one is encoded."""
    device, pinned, side = network.backbone.mean.device, views.pin_memory(), torch.cuda.Stream()
    waiting = [pinned.to(device)]

    def act() -> None:
        with torch.cuda.stream(side):
            following = pinned.to(device, non_blocking=True)
        network.backbone(waiting.pop())
        torch.cuda.current_stream().wait_stream(side)
        following.record_stream(torch.cuda.current_stream())
        waiting.append(following)

    return act


def channels_last(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Encode pixels whose colours are adjacent in memory, as in files."""
    here = views.to(network.backbone.mean.device).contiguous(memory_format=torch.channels_last)
    return lambda: network.backbone(here)


def cuda_graph(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Launch all kernels of a batch at once."""
    here, graph = views.to(network.backbone.mean.device), torch.cuda.CUDAGraph()
    network.backbone(here)  # chooses its kernels before they are recorded
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        network.backbone(here)
    return graph.replay


def compiled(network: HiDANet, views: Tensor) -> Callable[[], object]:
    """Compile the backbone by torch.compile."""
    here, whole = views.to(network.backbone.mean.device), torch.compile(network.backbone)
    return lambda: whole(here)


ON_ANY_DEVICE = (as_it_is, copied, channels_last)
ON_A_GPU = (pinned_ahead, cuda_graph, compiled)


def variant_rows(network: HiDANet, device: torch.device, size: int, passes: int) -> list[dict]:
    """Return the views per second of the backbone, by each way to feed and to run it."""
    side, rows = network.config.side, []
    views = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8)
    for way in (*ON_ANY_DEVICE, *(ON_A_GPU if device.type == "cuda" else ())):
        with torch.inference_mode():
            speed = size / seconds_of(way(network, views), device, passes)
        rows.append({"way": way.__name__.replace("_", " "), "backbone, views/s": round(speed, 1)})
    if device.type != "cuda":
        rows.append({"only with a GPU": [way.__name__.replace("_", " ") for way in ON_A_GPU] + ["nvJPEG"]})
    return rows


def size_row(scanners: dict[str, Scanner], megapixels: float, count: int, views_per_second: float) -> dict:
    """Return the images per second of one size: of decoding on all cores, of the network, and of entire scans."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as threads:
        paths = many(Path(name), megapixels, count)
        prepare = scanners["scan"].preparer.file
        list(threads.map(prepare, paths[: 2 * len(scanners)]))  # starts decoders
        started = time.perf_counter()
        views = sum(len(job.take_views() or ()) for job in threads.map(prepare, paths))
        row = {"megapixels": megapixels, "made ready, images/s": round(count / (time.perf_counter() - started), 2)}
        row["network, images/s"] = round(views_per_second * count / views, 2)
        for what, scanner in scanners.items():
            list(scanner.scan(paths[: max(1, count // 8)]))  # starts decoders, and chooses kernels
            started = time.perf_counter()
            list(scanner.scan(paths))
            row[f"{what}, images/s"] = round(count / (time.perf_counter() - started), 2)
        row |= {"scan, views/s": round(row["scan, images/s"] * views / count, 1)}
        row |= {"of the network": round(row["scan, images/s"] / row["network, images/s"], 3)}
        if scanners["scan"].device.type == "cuda":
            row["nvJPEG, images/s"] = round(nvjpeg(paths[:64]), 2)
    return row


def many(folder: Path, megapixels: float, count: int) -> list[str]:
    """Make up to 32 pictures, and links to them up to `count`: making all would take longest."""
    made, paths = make_case(folder / "made", "jpg", megapixels, min(count, 32)), []
    for number in range(count):
        paths.append(str(folder / f"{number:05d}.jpg"))
        os.symlink(made[number % len(made)], paths[-1])
    return paths


def nvjpeg(paths: list[str]) -> float:
    """Return the images per second that the GPU decodes with nvJPEG."""
    from torchvision.io import decode_jpeg, read_file

    files = [read_file(path) for path in paths]
    return len(files) / seconds_of(lambda: decode_jpeg(files, device="cuda"), torch.device("cuda"), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--matrix", type=int, default=_SIDE, help="side of the matrices that the peak is measured with")
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 1, 12], help="megapixels")
    parser.add_argument("--views", type=int, default=20_000, help="approximate number for each size")
    parser.add_argument("--no-large", dest="large", action="store_false")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for row in measure(given):
        rows.append(row)
        print(json.dumps(row), flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(given: argparse.Namespace) -> Iterator[dict]:
    """Yield all rows, entire scans before alternatives."""
    scanner = Scanner(ScanOptions(device=given.device, precision=given.precision))
    device, peak = scanner.device, matrix_peak(scanner.device, given.matrix, given.passes)
    yield {"device": str(device), "bf16 peak, TFLOP/s": round(peak / 1e12, 2), "cores": os.cpu_count()}
    network = network_row("hidascan-b", scanner.detector, device, given.batch_sizes, peak, given.passes)
    yield network
    scanners = {"scan": scanner, "--fast": Scanner(replace(scanner.options, fast=True))}
    for size in given.sizes:
        yield size_row(scanners, size, max(1, round(given.views / (1 + 21 * size))), network["views/s"])
    yield from variant_rows(scanner.detector, device, network["batch"], given.passes)
    if given.large:
        large = HiDANet(LARGE).eval()
        large.backbone.compute_in(torch.bfloat16)
        yield network_row("ViT-L/14, random", large.to(device), device, given.batch_sizes, peak, given.passes)


if __name__ == "__main__":
    main()

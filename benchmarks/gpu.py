"""What a GPU makes of the network: views a second for the shipped weights and for a ViT-L/14 (random weights), as a share
of the bf16 matrix peak measured here; and the whole scan against that, to tell whether decoding keeps up.

    python benchmarks/gpu.py [PATH...] [--device cuda] [--batch-sizes 64 128 256] [--json FILE]

PATHs, where there are any, are scanned from disk; give it folders of many images.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import torch

from hidascan import Scanner, ScanOptions
from hidascan.detectors.backbones.frozen import FrozenViT
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
    """bf16 operations a second of one large product of matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, passes)


def operations(network: HiDANet) -> float:
    """Of one view: two for each weight of the blocks and token, and those of attention."""
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
    """The best of the batch sizes."""
    rows = [one_row(name, network, device, size, peak, passes) for size in batch_sizes]
    return max(rows, key=lambda row: row["views/s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--matrix", type=int, default=_SIDE, help="side of the matrices that the peak is measured with")
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--no-large", dest="large", action="store_false")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scanner = Scanner(ScanOptions(device=given.device, precision="bf16"))
    device, peak = scanner.device, matrix_peak(scanner.device, given.matrix, given.passes)
    rows = [{"device": str(device), "bf16 peak, TFLOP/s": round(peak / 1e12, 2), "cores": os.cpu_count()}]
    rows.append(network_row("hidascan-b", scanner.detector, device, given.batch_sizes, peak, given.passes))
    if given.large:
        large = HiDANet(LARGE).eval()
        large.head.refiner.bfloat16()
        large.backbone.compute_in(torch.bfloat16)
        rows.append(network_row("ViT-L/14, random", large.to(device), device, given.batch_sizes, peak, given.passes))
    if given.paths:
        started = time.perf_counter()
        views = sum(finding.patches + 1 for finding in scanner.scan(given.paths) if finding.status == "ok")
        speed = views / (time.perf_counter() - started)
        rows.append({"scan, views/s": round(speed, 1), "of the network": round(speed / rows[1]["views/s"], 3)})
    for row in rows:
        print(json.dumps(row), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Command that scores published benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.lab.commands import Weights, open_scanner

if TYPE_CHECKING:
    from hidascan.lab.data.layouts.edited import EditedImage
    from hidascan.lab.data.tables import LabelledImage
    from hidascan.scanner import Scanner


def bench(
    folder: Annotated[Path, typer.Argument(help="Folder of a benchmark in its published layout.", show_default=False)],
    real: Annotated[Optional[Path], typer.Option(help="Folder of the real photos, if they are not in the benchmark.", show_default=False)] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Number of files, spread evenly over all.", show_default=False)] = None,
    align_format: Annotated[bool, typer.Option("--align-format", help="Also score both classes after saving them as JPEG with quality 96.")] = False,
    keep: Annotated[Optional[Path], typer.Option(help="File that stores scores, to resume from.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Detect the benchmark by its folders, and print its table with the published figures below.

    GenImage, Tiny-GenImage, Chameleon, DRCT-2M, HiRes-50K, Synthbuster, AIGCDetectBenchmark, ForenSynths, Community
    Forensics and WildRF; for localisation AutoSplice, CocoGlide, BR-Gen and TGIF.
    """
    from hidascan.errors import RecipeError
    from hidascan.lab.data.layouts import read_layout
    from hidascan.lab.data.layouts.detection import read_real
    from hidascan.lab.data.layouts.edited import read_edited
    from hidascan.lab.data.tables import spread

    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder")
    edited = read_edited(folder)
    if edited is not None:
        name, pairs = edited
        _edited(name, pairs[:: max(1, len(pairs) // limit)][:limit] if limit else pairs, weights, device, precision)
        return
    layout, images = read_layout(folder)
    if real is not None:
        images = [*images, *read_real(real)]
    chosen = spread(images, limit) if limit else images
    _detection(layout, chosen, open_scanner(weights, device, precision), align_format, keep)


def _detection(
    layout: str, images: list[LabelledImage], scanner: Scanner, align_format: bool, keep: Path | None
) -> None:
    from tqdm import tqdm

    from hidascan.lab.measure import bench
    from hidascan.lab.measure.bench_scan import ALIGNED_QUALITY, ScoreFile, scan

    paths, found = [str(image.path) for image in images], []
    for aligned in (False, True) if align_format else (False,):
        run = f"{scanner.header.name} {scanner.run.digest}" + (f" JPEG {ALIGNED_QUALITY}" if aligned else "")
        kept = ScoreFile(keep, run)
        with tqdm(total=len(paths), desc=run.partition(" ")[0], disable=None) as bar:
            found.append(bench.score(layout, images, scan(scanner, paths, aligned, kept, bar.update)[:, 0]))
    print(f"{layout}: {len(images)} files, {found[0].unreadable} of them unreadable and omitted; per cent.\n")
    print(bench.as_markdown(*found))
    if others := bench.published_as_markdown(layout):
        print(f"\n{others}")
    for note in found[0].notes:
        print(f"hidalab: {note}", file=sys.stderr)


def _edited(name: str, images: list[EditedImage], weights: str, device: str, precision: str) -> None:
    from tqdm import tqdm

    from hidascan.errors import UsageError
    from hidascan.lab.measure.bench_edited import as_markdown, measure_edited

    scanner = open_scanner(weights, device, precision)
    if not scanner.detector.has_heatmap:
        raise UsageError(f"{name} measures localisation, but {scanner.header.architecture} produces no heatmap")
    with tqdm(total=len(images), desc=name, disable=None) as bar:
        threshold = scanner.header.calibration.localisation
        measured, unreadable = measure_edited(scanner.detector, threshold, images, bar.update)
    print(f"{name}: {len(images)} files, {unreadable} of them unreadable and omitted; heatmap threshold {threshold}.\n")
    print(as_markdown(measured))

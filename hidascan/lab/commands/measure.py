"""Commands that measure weights."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.errors import RecipeError, UsageError
from hidascan.lab.commands import Autoencoder, Cache, Recipe, Table, Weights, check_new, open_scanner, open_workspace
from hidascan.options import ScanOptions

if TYPE_CHECKING:
    from hidascan.lab.data.tables import EditedImage, LabelledImage
    from hidascan.scanner import Scanner

Images = Annotated[int, typer.Option(min=1, help="Number of images, spread evenly over the table.")]


def evaluate(
    table: Table,
    csv: Annotated[Optional[Path], typer.Option(help="Also write the rows to this CSV file.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Evaluate weights on a table: results by group, then two JSON lines: intervals, and AUC, balanced accuracy, TPR at 1 and 5 % FPR."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.measure import detection
    from hidascan.report.csv_report import CsvReport

    images = read_images(table)
    scanner = open_scanner(weights, device, precision)
    report = CsvReport(str(csv), scanner.info) if csv else None
    try:
        evaluation = detection.evaluate(scanner, images, report)
    finally:
        if report:
            report.close()
    print(detection.as_markdown(evaluation))
    print(json.dumps({"intervals": {name: [round(x, 4) for x in pair] for name, pair in evaluation.intervals.items()}}))
    # No NaN in JSON.
    print(json.dumps({name: value for name, value in evaluation.figures.items() if not math.isnan(value)}))


def agree(
    report: Annotated[Path, typer.Argument(help="JSON Lines report of a scan of the images.", show_default=False)],
    table: Table,
    weights: Annotated[
        Path,
        typer.Option(help="Weights that produced the report; they must not have been trained on sources in TABLE."),
    ],
    write: Annotated[bool, typer.Option("--write", help="Write the fitted rule into the weights.")] = False,
) -> None:
    """Fit the rule by which a heatmap region contradicts the verdict `real`, and cross-validate it over sources."""
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.measure.calibration import recalibrate
    from hidascan.lab.measure.region_odds import cross_fitted_odds, fit_region_odds, join_labels
    from hidascan.runners.verify import read_rows

    labelled = join_labels(read_rows(report), read_images(table))
    if len({one.label for one in labelled}) < 2:
        raise UsageError(f"{report}: the rule needs real and AI images of {table}, each with a heatmap")
    calibration = load_detector(weights)[1].calibration
    print(json.dumps(cross_fitted_odds(labelled, calibration)))
    odds = fit_region_odds(labelled, calibration)
    print(json.dumps({"region_odds": odds}))
    if write:
        recalibrate(weights, region_odds=odds, reliability={})  # the error rates are those of other verdicts


def quality(
    table: Table,
    images: Images = 100,
    resized: Annotated[Optional[float], typer.Option(help="Factor of an additional resize after compression.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure the error of the estimated JPEG quality, on images shrunk by 2 and compressed at six qualities."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.robustness import quality_errors

    chosen = spread(read_images(table), images)
    errors, count = quality_errors(open_scanner(weights, device, precision), chosen, resized)
    mean = sum(errors.values()) / len(errors)
    by_quality = {q: round(e, 2) for q, e in errors.items()}
    print(json.dumps({"images": count, "mae": round(mean, 3), "by_quality": by_quality}))


def localise(
    table: Table,
    autoencoder: Autoencoder,
    images: Annotated[int, typer.Option(min=1, help="Number of photos, spread evenly over the table.")] = 40,
    jpeg: Annotated[list[int], typer.Option(help="JPEG quality of the final save; may be repeated.")] = [90],  # noqa: B006
    share: Annotated[tuple[float, float], typer.Option(help="Minimum and maximum share of the area.")] = (0.1, 0.3),
    without: Annotated[Optional[list[str]], typer.Option(help="Group to omit; may be repeated.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
) -> None:  # fmt: skip
    """Measure localisation of autoencoded regions in photos by token AUC: one line per JPEG quality."""
    from hidascan.detectors import find_weights
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.lab.data.autoencoders import load_autoencoder
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.localisation import measure_localisation

    detector, header = load_detector(find_weights(weights))
    if not detector.has_heatmap:
        raise UsageError(f"localise: the detector {header.architecture} of these weights produces no heatmap")
    photos = [image for image in read_images(table) if not image.label and image.group not in (without or ())]
    if not photos:
        raise UsageError(f"{table}: no real image is left")
    chosen = spread(photos, images)
    painter = load_autoencoder(autoencoder)
    for row in measure_localisation(detector, header.calibration.localisation, chosen, painter, share, jpeg):
        print(json.dumps({"images": len(chosen), **{name: round(value, 4) for name, value in row.items()}}))


def robustness(
    table: Table,
    images: Images = 1_000_000,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure detection under JPEG, WebP, resizing, blur, noise, crops and borders; and how often verdicts flip."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.robustness import as_markdown, measure_robustness

    chosen = spread(read_images(table), images)
    print(as_markdown(measure_robustness(open_scanner(weights, device, precision), chosen)))


def tde(
    image: Annotated[Path, typer.Argument(help="Image to examine.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Path of the picture (PNG).", show_default=False)],
    grid: Annotated[int, typer.Option(min=1, max=56, help="Number of cells along a side of a view.")] = 7,
    patches: Annotated[int, typer.Option(min=1, help="Maximum number of patches; each cell of each patch takes one pass.")] = 4,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Draw the influence of each cell of a view: the logit with all cells minus that with the cell set to zero."""
    import dataclasses

    from hidascan.image.decode import decode
    from hidascan.lab.measure.cell_effects import measure_cell_effects
    from hidascan.report.heatmap import draw_attributions

    check_new(out)
    scanner = open_scanner(weights, device, precision, patches)
    pixels = decode(image).pixels
    effects = measure_cell_effects(scanner, pixels, grid)
    finding = dataclasses.replace(scanner.scan_array(pixels), attributions=tuple(effects))
    strongest = max(effects, key=lambda effect: abs(effect.effect))
    draw_attributions(pixels, finding, max(abs(strongest.effect), 1e-9), "logit").save(out, format="PNG")
    box = {name: getattr(strongest, name) for name in ("left", "top", "width", "height")}
    print(json.dumps({"cells": len(effects), "strongest": box | {"effect": round(strongest.effect, 4)}}))


def cv(
    recipe: Recipe,
    cache: Cache,
    ablations: Annotated[bool, typer.Option(help="Also measure the contribution of each part of the verdict.")] = True,
    perturbed: Annotated[
        int,
        typer.Option(
            help="Number of images that are also scored, by thumbnail and one patch, under every perturbation."
        ),
    ] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Cross-validate a recipe over sources: figures out of fold, by domain and family, and with each of them held out."""
    from hidascan.lab.training.recipe import read_recipe

    spec = read_recipe(recipe)
    report = _task(spec.detector, "cross_validate")
    for part in report(spec, open_workspace(cache, device, precision), ablations, perturbed):
        print(part, end="\n\n", flush=True)


def heatmaps(
    recipe: Recipe,
    cache: Cache,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Cross-validate the heatmap of a recipe over sources, on edits, forgeries and untouched windows.

    TFL is trained for each fold; of WEIGHTS, only the residual filters are used.
    """
    from hidascan.detectors import find_weights
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.lab.training.recipe import read_recipe

    spec = read_recipe(recipe)
    report = _task(spec.detector, "report_heatmaps")
    detector, header = load_detector(find_weights(weights))
    if header.architecture != spec.detector:
        raise UsageError(f"{weights}: weights of {header.architecture}, but the recipe is one of {spec.detector}")
    for part in report(spec, detector, open_workspace(cache, device, precision)):
        print(part, end="\n\n", flush=True)


def card(
    recipe: Recipe,
    cards: Annotated[list[Path], typer.Argument(metavar="CARD...", help="Markdown files with marked sections.", show_default=False)],
    cache: Cache = Path("cache"),
    table: Annotated[Optional[Path], typer.Option(help="Label table to measure on.  [default: the recipe's calibration table]", show_default=False)] = None,
    only: Annotated[Optional[list[str]], typer.Option(metavar="SECTION", help="Section to measure, instead of all; may be repeated.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure the figures in model cards, and write them between the marks."""
    from hidascan.lab.measure.card import CardSpec, fill_cards
    from hidascan.lab.training.recipe import read_recipe, training_module

    spec = read_recipe(recipe)
    wanted = CardSpec(table or spec.data.calibration, spec, cache)
    sections = getattr(training_module(spec.detector), "SECTIONS", None)
    options = ScanOptions(weights, device=device, precision=precision)
    fill_cards(cards, options, wanted, tuple(only or ()), sections)


def bench(
    folder: Annotated[Path, typer.Argument(help="Folder of a benchmark in its published layout.", show_default=False)],
    real: Annotated[Optional[Path], typer.Option(help="Folder of the real photos, if they are not in the benchmark.", show_default=False)] = None,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Number of files, spread evenly over all.", show_default=False)] = None,
    align_format: Annotated[bool, typer.Option("--align-format", help="Also score both classes after saving them as JPEG with quality 96.")] = False,
    keep: Annotated[Optional[Path], typer.Option(help="File in which scores are stored, for resuming.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Recognise a benchmark by its folders, score it, and print the table with the published figures below.

    For detection GenImage, Tiny-GenImage, Chameleon, DRCT-2M, HiRes-50K, Synthbuster, AIGCDetectBenchmark,
    ForenSynths, Community Forensics and WildRF; for localisation AutoSplice, CocoGlide, BR-Gen and TGIF.
    """
    from hidascan.lab.data.layouts import read_edited, read_layout, read_real
    from hidascan.lab.data.tables import spread

    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder")
    edited = read_edited(folder)
    if edited is not None:
        name, pairs = edited
        _edited(name, spread(pairs, limit or len(pairs)), open_scanner(weights, device, precision))
        return
    layout, images = read_layout(folder)
    if real is not None:
        images = [*images, *read_real(real)]
    images = spread(images, limit or len(images))
    _detection(layout, images, open_scanner(weights, device, precision), align_format, keep)


def _detection(layout: str, images: list[LabelledImage], scanner: Scanner, align: bool, keep: Path | None) -> None:
    from hidascan.lab.artifacts import ResultFile
    from hidascan.lab.measure import bench
    from hidascan.lab.measure.detection import ALIGNED_QUALITY, scan_scores

    paths = [str(image.path) for image in images]
    benches = []
    for aligned in (False, True) if align else (False,):
        run = f"{scanner.header.name} {scanner.info.digest} {scanner.dtype}" + (
            f" JPEG {ALIGNED_QUALITY}" if aligned else ""
        )
        benches.append(bench.score(layout, images, scan_scores(scanner, paths, aligned, ResultFile(keep, run))[:, 0]))
    print(f"{layout}: {len(images)} files, {benches[0].unreadable} of them unreadable and omitted; per cent.\n")
    print(bench.as_markdown(*benches))
    if others := bench.published_as_markdown(layout):
        print(f"\n{others}")
    for note in benches[0].notes:
        print(f"hidalab: {note}", file=sys.stderr)


def _edited(name: str, images: list[EditedImage], scanner: Scanner) -> None:
    from hidascan.lab.measure.localisation import edited_as_markdown, measure_edited

    if not scanner.detector.has_heatmap:
        raise UsageError(f"{name} measures localisation, but {scanner.header.architecture} produces no heatmap")
    threshold = scanner.header.calibration.localisation
    measured, unreadable = measure_edited(scanner.detector, threshold, images, name)
    print(f"{name}: {len(images)} files, {unreadable} of them unreadable and omitted; heatmap threshold {threshold}.\n")
    print(edited_as_markdown(measured))


def _task(detector: str, name: str) -> Any:
    """Return a function of a detector's training module; UsageError if it has none of this name."""
    from hidascan.lab.training.recipe import training_module

    function = getattr(training_module(detector), name, None)
    if function is None:
        raise UsageError(f"the detector {detector} does not support this command")
    return function

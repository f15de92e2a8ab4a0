"""Commands that measure weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.lab.commands import Autoencoder, Cache, Recipe, Table, Weights, open_scanner

if TYPE_CHECKING:
    from hidascan.finding import Finding

Images = Annotated[int, typer.Option(help="Number of images, spread evenly over the table.")]


def evaluate(
    table: Table,
    csv: Annotated[Optional[Path], typer.Option(help="Also write the rows to this CSV file.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Evaluate weights on a table: results by group, then a JSON line with AUC, balanced accuracy, TPR at 1 and 5 % FPR."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.measure import detection
    from hidascan.progress import ScanProgress
    from hidascan.report.csv_report import CsvReport

    images, scanner = read_images(table), open_scanner(weights, device, precision)
    report = CsvReport(str(csv), scanner.run) if csv else None
    progress = ScanProgress(hidden=False)

    def on_finding(finding: Finding) -> None:
        with progress.reporting():
            if report:
                report.add(finding)

    try:
        evaluation = detection.evaluate(scanner, images, on_finding, progress.on_batch)
    finally:
        progress.close()
        if report:
            report.close()
    print(detection.as_markdown(evaluation))
    print(json.dumps({"intervals": {name: [round(x, 4) for x in pair] for name, pair in evaluation.intervals.items()}}))
    print(json.dumps(evaluation.figures))


def agree(
    report: Annotated[Path, typer.Argument(help="JSON Lines report of a scan of the images.", show_default=False)],
    table: Table,
    weights: Annotated[Path, typer.Option(help="Weights that made the report; their sources must not be in TABLE.")],
    write: Annotated[bool, typer.Option("--write", help="Write the fitted rule into the weights.")] = False,
) -> None:
    """Fit the rule by which a heatmap region contradicts the verdict `real`, and cross-validate it over sources."""
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.errors import UsageError
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.measure.agreement import cross_fitted, fit_region_odds, join
    from hidascan.lab.measure.calibration import recalibrate
    from hidascan.runners.verify import read_rows

    labelled = join(read_rows(report), read_images(table))
    if len({one.label for one in labelled}) < 2:
        raise UsageError(f"{report}: the rule needs real and AI images of {table}, each with a heatmap")
    calibration = load_detector(weights)[1].calibration
    print(json.dumps(cross_fitted(labelled, calibration)))
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
    from tqdm import tqdm

    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.robustness import quality_errors

    chosen = spread(read_images(table), images)
    with tqdm(total=len(chosen), desc="quality", disable=None) as bar:
        errors = quality_errors(open_scanner(weights, device, precision), chosen, resized, bar.update)
    mean = sum(errors.values()) / len(errors)
    by_quality = {q: round(e, 2) for q, e in errors.items()}
    print(json.dumps({"images": len(chosen), "mae": round(mean, 3), "by_quality": by_quality}))


def localise(
    table: Table,
    autoencoder: Autoencoder,
    images: Annotated[int, typer.Option(help="Number of photos, spread evenly over the table.")] = 40,
    jpeg: Annotated[list[int], typer.Option(help="JPEG quality of the final save; may be repeated.")] = [90],  # noqa: B006
    share: Annotated[tuple[float, float], typer.Option(help="Minimum and maximum share of the area.")] = (0.1, 0.3),
    without: Annotated[Optional[list[str]], typer.Option(help="Group to omit; may be repeated.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
) -> None:  # fmt: skip
    """Measure localisation of autoencoded regions in photos by token AUC: one line per JPEG quality."""
    from tqdm import tqdm

    from hidascan.detectors.checkpoint import load_detector
    from hidascan.detectors.weights import find_weights
    from hidascan.errors import UsageError
    from hidascan.lab.data.autoencoders.base import load_autoencoder
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.localisation import measure_localisation

    detector, header = load_detector(find_weights(weights))
    if not detector.has_heatmap:
        raise UsageError(f"localise: the detector {header.architecture} of these weights produces no heatmap")
    photos = [image for image in read_images(table) if not image.label and image.group not in (without or ())]
    chosen, painter = spread(photos, images), load_autoencoder(autoencoder)
    with tqdm(total=len(chosen), desc="localise", disable=None) as bar:
        threshold = header.calibration.localisation
        rows = measure_localisation(detector, threshold, chosen, painter, share, jpeg, on_image=bar.update)
    for row in rows:
        print(json.dumps({"images": len(chosen), **{name: round(value, 4) for name, value in asdict(row).items()}}))


def robustness(
    table: Table,
    images: Images = 1_000_000,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure detection under JPEG, WebP, resizing, blur, noise, crops and borders; and how often verdicts flip."""
    from tqdm import tqdm

    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure.robustness import as_markdown, measure_robustness

    chosen = spread(read_images(table), images)
    with tqdm(total=len(chosen), desc="robustness", disable=None) as bar:
        print(as_markdown(measure_robustness(open_scanner(weights, device, precision), chosen, bar.update)))


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

    from tqdm import tqdm

    from hidascan.image.decode import decode
    from hidascan.lab.measure.cell_effects import measure_cell_effects
    from hidascan.report.overlay import draw_attributions

    scanner = open_scanner(weights, device, precision, patches)
    pixels = decode(image).pixels
    with tqdm(desc="tde", unit=" views", disable=None) as bar:
        effects = measure_cell_effects(scanner, pixels, grid, bar.update)
    finding = dataclasses.replace(scanner.scan_array(pixels), attributions=tuple(effects))
    strongest = max(effects, key=lambda effect: abs(effect.effect))
    draw_attributions(pixels, finding, max(abs(strongest.effect), 1e-9), "logit").save(out, format="PNG")
    box = {name: getattr(strongest, name) for name in ("left", "top", "width", "height")}
    print(json.dumps({"cells": len(effects), "strongest": box | {"effect": round(strongest.effect, 4)}}))


def cv(
    recipe: Recipe,
    cache: Cache,
    steps: Annotated[bool, typer.Option(help="Also measure the contribution of each step of the head.")] = True,
    perturbed: Annotated[
        int, typer.Option(help="Number of images that are also scanned under every perturbation.")
    ] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Cross-validate a recipe over sources: figures out of fold, by domain and family, and with each of them held out."""
    spec, where, dtype = _spec(recipe, device, precision)
    _task(spec.detector, "cross_validate")(spec, cache, where, dtype, _show, steps, perturbed)


def _show(part: str) -> None:
    print(part, end="\n\n", flush=True)


def heatmaps(
    recipe: Recipe,
    cache: Cache,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure the heatmap of WEIGHTS by cross-validation over sources, on edits, forgeries, and untouched windows."""
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.detectors.weights import find_weights

    spec, where, dtype = _spec(recipe, device, precision)
    report = _task(spec.detector, "report_heatmaps")
    residuals = load_detector(find_weights(weights))[0].residuals
    report(spec, cache, residuals, where, dtype, _show)


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
    from hidascan.options import ScanOptions

    spec = read_recipe(recipe)
    wanted = CardSpec(table or spec.data.calibration, spec, cache)
    sections = getattr(training_module(spec.detector), "SECTIONS", None)
    options = ScanOptions(weights, device=device, precision=precision)
    fill_cards(cards, options, wanted, tuple(only or ()), sections)


def _spec(recipe: Path, device: str, precision: str) -> tuple[Any, str, Any]:
    from hidascan.device import choose_device, choose_dtype
    from hidascan.lab.training.recipe import read_recipe

    where = choose_device(device)
    return read_recipe(recipe), str(where), choose_dtype(precision, where)


def _task(detector: str, name: str) -> Any:
    """Return a function of a detector's training module.

    Raises:
        UsageError: If it has none of this name.
    """
    from hidascan.errors import UsageError
    from hidascan.lab.training.recipe import training_module

    function = getattr(training_module(detector), name, None)
    if function is None:
        raise UsageError(f"the detector {detector} does not support this command")
    return function

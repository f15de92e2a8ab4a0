"""Commands that compare detectors."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.errors import UsageError
from hidascan.lab.commands import Cache, Minutes, Packs, Recipe, Table, Views, open_scanner, open_workspace
from hidascan.options import ScanOptions

if TYPE_CHECKING:
    from hidascan.lab.data.tables import LabelledImage
    from hidascan.lab.measure.comparison import DetectorScores
    from hidascan.lab.measure.entries import Entry, EntryTrainer

Patches = Annotated[Optional[int], typer.Option(min=1, help="Maximum number of patches per image.", show_default=False)]  # fmt: skip
Out = Annotated[Path, typer.Option(help="Folder for tables and plots.", show_default=False)]


def compare(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE[@NAME=VALUE]...", help="Recipes, optionally with changed values, such as recipes/glass.toml@network.crops=4.", show_default=False)],
    cache: Cache,
    out: Out,
    table: Annotated[Optional[Path], typer.Option(help="Also score this table, by networks trained on all sources unless --hold-out is given.", show_default=False)] = None,
    folds: Annotated[int, typer.Option(min=0, max=6, help="Number of folds of the cross-validation over sources; 0 for none.")] = 3,
    images: Annotated[int, typer.Option(min=2, help="Number of images to score out of fold, spread over the first recipe's tables, at most 4 of each group of a source.")] = 600,
    hold_out: Annotated[Optional[int], typer.Option(min=0, max=5, metavar="FOLD", help="Instead of cross-validating, train once without this fold of sources, and score its images and --table by the same network.", show_default=False)] = None,
    patches: Patches = None,
    outside: Annotated[Optional[list[str]], typer.Option(metavar="NAME=FILE", help="Scores of another system: a CSV with columns path and score. May be repeated.", show_default=False)] = None,
    ship: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Also train on all sources, or without the fold of --hold-out, calibrate with the scores out of fold, and write the weights to DIR.", show_default=False)] = None,
    packs: Packs = None,
    views: Views = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Train recipes on the same split, or reuse cached runs, and compare them: Markdown, CSV and plots.

    Scores are uncalibrated, with a threshold of 0.5. An interrupted run is resumed.
    """
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.measure.comparison import read_outside, write_report
    from hidascan.lab.measure.entries import check_tables, prepare_to_ship, ship_entries

    importlib.import_module("matplotlib")  # if it is missing, stop before hours of training

    entries = _read_entries(recipes, packs, views, minutes)
    _check_options(entries, folds, hold_out, table, ship)
    without = () if hold_out is None else (hold_out,)
    scored = [] if table is None else read_images(table)  # all inputs are read before hours of training
    overlap = check_tables(entries, scored, folds, without)
    if overlap:
        print(f"hidalab: --table: {overlap}", file=sys.stderr)
    chosen = _images_of_folds(entries[0], images, without) if folds or without else []
    others = [read_outside(text) for text in outside or []]
    for tested in filter(None, (chosen, scored)):
        _check_outside([other(tested) for other in others])
    if ship is not None:
        prepare_to_ship(entries, ship)
    trainer = _trainer(cache, device, precision, patches)
    out.mkdir(parents=True, exist_ok=True)
    if chosen:
        title = "held-out fold" if without else "out of fold"
        compared = [_score_held_out(trainer, entry, chosen, without, folds=folds) for entry in entries]
        write_report(title, [*compared, *(other(chosen) for other in others)], out / title.replace(" ", "-"))
        if ship is not None:
            ship_entries(trainer, entries, compared, without, ship)
    if table is not None:
        compared = [trainer.score(entry, scored, without) for entry in entries]
        place = table.resolve()
        folder = place if place.is_dir() else place.parent
        name = folder.name.replace(".", "-") or "table"  # `write_report` appends suffixes
        write_report(name, [*compared, *(other(scored) for other in others)], out / name, overlap)


def _read_entries(recipes: list[str], packs: Path | None, views: int | None, minutes: float | None) -> list[Entry]:
    """Read recipes with changed values, and put packs and budgets in place of their own."""
    from hidascan.lab.measure.entries import Entry, read_entry
    from hidascan.lab.training.end_to_end import with_packs

    read = [read_entry(text) for text in recipes]
    return [Entry(one.name, with_packs(one.recipe, packs, views, minutes)) for one in read]


def _images_of_folds(entry: Entry, count: int, without: tuple[int, ...]) -> list[LabelledImage]:
    """Choose images of a recipe's tables to score: of all folds, or of the held-out ones.

    Raises:
        UsageError: If the held-out folds lack a class.
    """
    from hidascan.lab.data.tables import spread

    chosen = spread(_known_images(entry, without), count)
    if without and len({image.label for image in chosen}) < 2:
        raise UsageError(f"--hold-out {without[0]}: the tables have no real and AI images in this fold; choose another")
    return chosen


def _score_held_out(
    trainer: EntryTrainer, entry: Entry, images: list[LabelledImage], without: tuple[int, ...], *, folds: int
) -> DetectorScores:
    """Score images by the network trained without some folds; if there are none, out of fold, by `folds` networks."""
    return trainer.score(entry, images, without) if without else trainer.score_out_of_fold(entry, images, folds)


def _check_options(
    entries: list[Entry], folds: int, hold_out: int | None, table: Path | None, ship: Path | None
) -> None:
    """Raise UsageError for options that contradict each other."""
    from hidascan.detectors import detector_class

    fitted = bool(folds) or hold_out is not None
    if not fitted and table is None:
        raise UsageError("--folds 0 needs --table or --hold-out")
    if folds == 1 and hold_out is None:
        raise UsageError("--folds 1 leaves no source to train on; choose 2 or more")
    if ship is None:
        return
    if not fitted or len({entry.stem for entry in entries}) < len(entries):
        raise UsageError("--ship needs --folds or --hold-out, and recipes of different names")
    if any(detector_class(entry.recipe.detector).has_heatmap for entry in entries):
        raise UsageError("--ship: compare trains no heatmap; use hidalab train for this detector")


def _check_outside(others: list[DetectorScores]) -> None:
    """Check that outside systems have scores of some of the compared images.

    Raises:
        UsageError: If one has none.
    """
    for other in others:
        if not other.readable()[0]:
            raise UsageError(f"--outside {other.name}: no score of the compared images; write paths as in the tables")


def _trainer(cache: Path, device: str, precision: str, patches: int | None = None) -> EntryTrainer:
    from hidascan.lab.measure.entries import EntryTrainer

    workspace = open_workspace(cache, device, precision)
    return EntryTrainer(workspace, ScanOptions(device=str(workspace.device), precision=precision, patches=patches))


def _known_images(entry: Entry, folds: tuple[int, ...] = ()) -> list[LabelledImage]:
    """Return the images of a recipe's tables, or those in some folds, at most 4 of each group of a source."""
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import capped, fold_of

    images = capped(read_images(*entry.recipe.data.tables), 4)
    return [image for image in images if not folds or fold_of(image.source) in folds]


def curves(
    table: Table,
    weights: Annotated[list[str], typer.Option(metavar="NAME|PATH", help="Weights; may be repeated.", show_default=False)],
    out: Out,
    images: Annotated[int, typer.Option(min=2, help="Number of images, spread evenly over the table.")] = 60,
    patches: Patches = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure and plot the loss of accuracy under JPEG, blur, resizing, noise and masking, for one or more weights.

    An interrupted measurement is resumed.
    """
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure import markdown
    from hidascan.lab.measure.comparison import plot_curves
    from hidascan.lab.measure.robustness import CURVES, measure_curves

    importlib.import_module("matplotlib")  # if it is missing, stop before hours of scans
    chosen, curves_of = spread(read_images(table), images), {}
    scanners = [open_scanner(name, device, precision, patches) for name in weights]
    out.mkdir(parents=True, exist_ok=True)
    for name, scanner in zip(weights, scanners, strict=True):
        shown = name if scanner.header.name in curves_of else scanner.header.name
        curves_of[shown] = measure_curves(scanner, chosen, out / "curves.jsonl")
    for curve, levels in CURVES.items():
        rows = [[name, *(figure for _, figure in points[curve])] for name, points in curves_of.items()]
        print(markdown.table([curve, *(f"{strength:g}" for strength in levels)], rows), end="\n\n")
    plot_curves(
        {curve: {name: points[curve] for name, points in curves_of.items()} for curve in CURVES}, out / "curves"
    )


def settle(
    recipe: Recipe,
    weights: Annotated[Path, typer.Argument(help="Trained part; with --write its header is updated.", show_default=False)],
    cache: Cache,
    images: Annotated[int, typer.Option(min=2, help="Number of images, spread evenly over the recipe's tables.")] = 360,
    folds: Annotated[int, typer.Option(min=2, max=6, help="Number of folds of the cross-validation over sources.")] = 3,
    write: Annotated[bool, typer.Option("--write", help="Write the fitted rule into the weights.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Fit the early-stopping rule of `hidascan --fast` on images of held-out sources."""
    from hidascan.detectors.checkpoint import load_detector
    from hidascan.lab.data.tables import fold_of, spread
    from hidascan.lab.measure.calibration import recalibrate
    from hidascan.lab.measure.entries import folds_of, read_entry
    from hidascan.lab.measure.settling import cross_fitted, fit_settling, record_trajectories

    entry = read_entry(str(recipe))
    trainer = _trainer(cache, device, precision)
    header = load_detector(weights)[1]
    if header.architecture != entry.recipe.detector:
        raise UsageError(f"{weights}: weights of {header.architecture}, but the recipe is for {entry.recipe.detector}")
    chosen, paths = spread(_known_images(entry), images), []
    for number in range(folds):
        part = folds_of(number, folds)
        here = [image for image in chosen if fold_of(image.source) in part]
        paths += record_trajectories(trainer.scanner(entry, part), here, cache / "settling.jsonl")
    fold_by_path = {str(image.path): fold_of(image.source) for image in chosen}
    print(json.dumps(cross_fitted(paths, [fold_by_path[one.path] for one in paths], header.calibration)))
    settling = fit_settling(paths, header.calibration)
    print(json.dumps({"settling": settling}))
    if write:
        recalibrate(weights, settling=settling)

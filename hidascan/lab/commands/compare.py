"""Commands that compare detectors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hidascan.arguments import Device, Precision
from hidascan.lab.commands import Cache, Minutes, Packs, Recipe, Table, Views, open_scanner

if TYPE_CHECKING:
    import torch

    from hidascan.lab.data.tables import LabelledImage
    from hidascan.lab.measure.comparison import Compared
    from hidascan.lab.training.entries import Entry

Patches = Annotated[Optional[int], typer.Option(min=1, help="Maximum number of patches per image.", show_default=False)]  # fmt: skip
Out = Annotated[Path, typer.Option(help="Folder for tables and plots.", show_default=False)]


def compare(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE[@NAME=VALUE]...", help="Recipes, optionally with changed values, such as recipes/glass.toml@network.crops=4.", show_default=False)],
    cache: Cache,
    out: Out,
    table: Annotated[Optional[Path], typer.Option(help="Also train on all sources, and score this table.", show_default=False)] = None,
    folds: Annotated[int, typer.Option(min=0, max=6, help="Number of folds of the cross-validation over sources; 0 for none.")] = 3,
    images: Annotated[int, typer.Option(min=2, help="Number of images to score out of fold, spread evenly over the recipes' tables.")] = 600,
    patches: Patches = None,
    outside: Annotated[Optional[list[str]], typer.Option(metavar="NAME=FILE", help="Scores of another system: a CSV with columns path and score. May be repeated.", show_default=False)] = None,
    ship: Annotated[Optional[Path], typer.Option(metavar="DIR", help="Also train on all sources, calibrate with the out-of-fold scores, and write the weights to DIR.", show_default=False)] = None,
    packs: Packs = None,
    views: Views = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Train recipes on the same split, or reuse cached runs, and compare them: Markdown, CSV and plots.

    Scores are uncalibrated, with a threshold of 0.5. An interrupted run is resumed.
    """
    from hidascan.device import choose_device, choose_dtype
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import capped, spread
    from hidascan.lab.training.end_to_end import with_packs
    from hidascan.lab.training.entries import Entry, read_entry

    read = [read_entry(text) for text in recipes]
    entries = [Entry(one.name, with_packs(one.recipe, packs, views, minutes)) for one in read]
    where = choose_device(device)
    trainer = _Trainer(entries, cache, where, choose_dtype(precision, where), patches, precision)
    out.mkdir(parents=True, exist_ok=True)
    if folds:
        known = [image for one in entries[0].recipe.data.tables for image in read_images(one)]
        chosen = spread(capped(known, 4), images)
        found = trainer.out_of_fold(chosen, folds)
        _report("out of fold", found, outside or [], chosen, out / "out-of-fold")
        if ship is not None:
            trainer.ship(found, ship)
    if table is not None:
        chosen = read_images(table)
        _report(table.parent.name, trainer.on_table(chosen), outside or [], chosen, out / table.parent.name)


class _Trainer:
    """Trains and scores the entries of a comparison."""

    def __init__(
        self,
        entries: list[Entry],
        cache: Path,
        device: torch.device,
        dtype: torch.dtype,
        patches: int | None,
        precision: str,
    ):
        self._entries, self._cache, self._device, self._dtype = entries, cache, device, dtype
        self._patches, self._precision = patches, precision

    def out_of_fold(self, images: list[LabelledImage], count: int) -> list[Compared]:
        """Score images by networks that were not trained on their sources."""
        import numpy as np

        from hidascan.lab.data.tables import fold_of
        from hidascan.lab.training.entries import folds_of

        parts = [folds_of(number, count) for number in range(count)]
        found = []
        for entry in self._entries:
            scores = np.full((len(images), 2), np.nan)
            for part in parts:
                here = [number for number, image in enumerate(images) if fold_of(image.source) in part]
                scores[here] = self._scores(entry, part, [images[number] for number in here])
            found.append(self._compared(entry, images, scores, parts[0]))
        return found

    def on_table(self, images: list[LabelledImage]) -> list[Compared]:
        """Score images by networks trained on all sources."""
        return [self._compared(entry, images, self._scores(entry, (), images), ()) for entry in self._entries]

    def ship(self, found: list[Compared], folder: Path) -> None:
        """Write weights of networks trained on all sources, calibrated with out-of-fold scores."""
        from hidascan.lab.measure.calibration import calibrate_by_scores

        folder.mkdir(parents=True, exist_ok=True)
        for entry, one in zip(self._entries, found, strict=True):
            out = folder / f"{entry.name.partition('@')[0]}.safetensors"
            figures = calibrate_by_scores(self._weights(entry, ()), one.images, one.scores, out)
            print(f"{out}: {json.dumps(figures)}")

    def _weights(self, entry: Entry, without: tuple[int, ...]) -> Path:
        from hidascan.lab.training.entries import weights_of

        def announce(name: str) -> None:
            print(f"training {name}", file=sys.stderr)

        return weights_of(entry, without, self._cache, self._device, self._dtype, announce)

    def scanner(self, entry: Entry, without: tuple[int, ...]) -> Any:
        """Return a scanner with an entry trained without some folds."""
        return self._scanner(self._weights(entry, without))

    def _scanner(self, weights: Path, patches: int | None = None) -> Any:
        return open_scanner(str(weights), str(self._device), self._precision, patches)

    def _scores(self, entry: Entry, without: tuple[int, ...], images: list[LabelledImage]) -> Any:
        from tqdm import tqdm

        from hidascan.lab.measure.bench_scan import ScoreFile, scan

        scanner = self._scanner(self._weights(entry, without), self._patches)
        kept = ScoreFile(self._cache / "compared" / "scores.jsonl", f"{scanner.run.digest} {self._patches}")
        with tqdm(total=len(images), desc=entry.name, disable=None) as bar:
            return scan(scanner, [str(image.path) for image in images], False, kept, bar.update)

    def _compared(self, entry: Entry, images: list[LabelledImage], scores: Any, without: tuple[int, ...]) -> Compared:
        from hidascan.lab.measure.comparison import Compared
        from hidascan.lab.measure.speed import cost_of

        weights = self._weights(entry, without)
        scanner = self._scanner(weights)
        trained = scanner.header.training
        budget = "see its recipe"
        if "views" in trained:
            budget = "{views:,} views, {minutes} min on {machine}".format(**trained)
        if entry.recipe.data.pretrained:
            budget += f", from {entry.recipe.data.pretrained}"
        return Compared(entry.name, images, scores[:, 0], scores[:, 1], cost_of(weights, scanner), budget)


def _report(title: str, found: list[Compared], outside: list[str], images: list[LabelledImage], path: Path) -> None:
    from hidascan.errors import UsageError
    from hidascan.lab.measure.comparison import (
        as_markdown,
        by_kind,
        plot_cost,
        plot_kinds,
        read_outside,
        row_of,
        write_csv,
    )

    for text in outside:
        name, equals, file = text.partition("=")
        if not equals:
            raise UsageError(f"--outside {text}: expected NAME=FILE")
        found = [*found, read_outside(name, Path(file), images)]
    rows = [row_of(one) for one in found]
    sources = len({image.source for image in images})
    text = f"{title}: {len(images)} images of {sources} sources.\n\n{as_markdown(rows)}\n\n{by_kind(found)}"
    print(text, end="\n\n", flush=True)
    path.with_suffix(".txt").write_text("".join(f"{image.path}\n" for image in images), encoding="utf-8")
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    write_csv(path.with_suffix(".csv"), rows)
    plot_cost(rows, path)
    plot_kinds(found, path.with_name(f"{path.name}-by-kind"))


def curves(
    table: Table,
    weights: Annotated[list[str], typer.Option(metavar="NAME|PATH", help="Weights; may be repeated.", show_default=False)],
    out: Out,
    images: Annotated[int, typer.Option(min=2, help="Number of images, spread evenly over the table.")] = 60,
    patches: Patches = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure and plot the loss of accuracy under JPEG, blur, resizing, noise and masking, for one or more weights."""
    from tqdm import tqdm

    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import spread
    from hidascan.lab.measure import markdown
    from hidascan.lab.measure.comparison import plot_curves
    from hidascan.lab.measure.robustness import CURVES, measure_curves

    chosen, found = spread(read_images(table), images), {}
    for name in weights:
        scanner = open_scanner(name, device, precision, patches)
        with tqdm(total=len(chosen), desc=name, disable=None) as bar:
            found[scanner.header.name] = measure_curves(scanner, chosen, bar.update)
    out.mkdir(parents=True, exist_ok=True)
    plot_curves({curve: {name: points[curve] for name, points in found.items()} for curve in CURVES}, out / "curves")
    for curve, levels in CURVES.items():
        rows = [[name, *(f"{figure:.3f}" for _, figure in points[curve])] for name, points in found.items()]
        print(markdown.table([curve, *(f"{strength:g}" for strength in levels)], rows), end="\n\n")


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
    from tqdm import tqdm

    from hidascan.detectors.checkpoint import load_detector
    from hidascan.device import choose_device, choose_dtype
    from hidascan.lab.data.layouts import read_images
    from hidascan.lab.data.tables import capped, fold_of, spread
    from hidascan.lab.measure.calibration import recalibrate
    from hidascan.lab.measure.settling import cross_fitted, fit_settling, record_trajectories
    from hidascan.lab.training.entries import folds_of, read_entry

    entry, where = read_entry(str(recipe)), choose_device(device)
    trainer = _Trainer([entry], cache, where, choose_dtype(precision, where), None, precision)
    known = [image for one in entry.recipe.data.tables for image in read_images(one)]
    chosen, paths, places = spread(capped(known, 4), images), [], []
    with tqdm(total=len(chosen), desc="looking", disable=None) as bar:
        for number in range(folds):
            part = folds_of(number, folds)
            scanner = trainer.scanner(entry, part)
            here = [image for image in chosen if fold_of(image.source) in part]
            found = record_trajectories(scanner, here, cache / "settling.jsonl", bar.update)
            paths += found
            places += [fold_of(image.source) for image in here if str(image.path) in {one.path for one in found}]
    calibration = load_detector(weights)[1].calibration
    print(json.dumps(cross_fitted(paths, places, calibration)))
    settling = fit_settling(paths, calibration)
    print(json.dumps({"settling": settling}))
    if write:
        recalibrate(weights, settling=settling)

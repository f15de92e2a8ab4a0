"""Entries of `hidalab compare`: recipes, optionally with changed values, trained and scored."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hidascan.detectors.checkpoint import load_detector
from hidascan.errors import CheckpointError, UsageError
from hidascan.lab.artifacts import ResultFile, Workspace, fingerprint
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.packs import read_packs
from hidascan.lab.data.tables import FOLDS, LabelledImage, fold_of
from hidascan.lab.measure.calibration import calibrate_by_scores
from hidascan.lab.measure.comparison import DetectorScores
from hidascan.lab.measure.detection import scan_scores
from hidascan.lab.measure.speed import cost_of
from hidascan.lab.training.end_to_end import data_digest
from hidascan.lab.training.recipe import put_backbone_beside, read_recipe, training_module
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner


@dataclass(frozen=True)
class Entry:
    """A recipe in a comparison, with its name."""

    name: str
    recipe: Any

    @property
    def stem(self) -> str:
        """Name of the recipe, without changes."""
        return self.name.partition("@")[0]


def read_entry(text: str) -> Entry:
    """Read `PATH`, or `PATH@network.crops=4@seed=1`, a recipe with changed values.

    Raises:
        RecipeError: For an unreadable recipe or an invalid change.
    """
    path, *changes = text.split("@")
    return Entry("@".join([Path(path).stem, *changes]), read_recipe(Path(path), changes))


def folds_of(number: int, count: int) -> tuple[int, ...]:
    """Return the folds of sources that form fold `number` of `count`."""
    return tuple(fold for fold in range(FOLDS) if fold % count == number)


@dataclass(frozen=True)
class EntryTrainer:
    """Trains and scores entries."""

    workspace: Workspace  # cache, device and precision of the trainings
    options: ScanOptions

    def weights(self, entry: Entry, without: tuple[int, ...]) -> Path:
        """Train an entry on all sources except those of some folds, or reuse its earlier weights.

        The weights are uncalibrated: scores are sigmoids of raw logits.
        """
        data = dataclasses.replace(entry.recipe.data, without_folds=without, calibration_fold=-1, calibration="")
        recipe = dataclasses.replace(entry.recipe, data=data)
        name = re.sub(r"\W+", "-", entry.name) + "".join(f"-{fold}" for fold in without)
        out = self.workspace.cache / "compared" / f"{name}-{fingerprint(recipe=recipe)[:8]}.safetensors"
        if not _holds(out, recipe):
            print(f"training {out.stem}", file=sys.stderr)
            out.parent.mkdir(parents=True, exist_ok=True)
            put_backbone_beside(out, Path(recipe.data.backbone))
            module = training_module(recipe.detector)
            getattr(module, "train_for_comparison", module.train)(recipe, out, self.workspace)
        return out

    def scanner(self, entry: Entry, without: tuple[int, ...], patches: int | None = None) -> Scanner:
        """Return a scanner with an entry trained without some folds, which examines at most `patches` of an image."""
        weights = str(self.weights(entry, without))
        return Scanner(dataclasses.replace(self.options, weights=weights, patches=patches))

    def score(self, entry: Entry, images: list[LabelledImage], without: tuple[int, ...]) -> DetectorScores:
        """Score images by one network, trained without some folds."""
        return self._compared(entry, images, self._scores(entry, images, without), without=without)

    def score_out_of_fold(self, entry: Entry, images: list[LabelledImage], count: int) -> DetectorScores:
        """Score images in `count` folds, by networks not trained on their sources."""
        scores = np.full((len(images), 2), np.nan)
        folds = {fold_of(image.source) for image in images}
        parts = [part for number in range(count) if folds & {*(part := folds_of(number, count))}]
        for part in parts:
            here = [number for number, image in enumerate(images) if fold_of(image.source) in part]
            scores[here] = self._scores(entry, [images[number] for number in here], part)
        return self._compared(entry, images, scores, without=parts[0], budget=f"first of {count} networks: ")

    def _scores(self, entry: Entry, images: list[LabelledImage], without: tuple[int, ...]) -> np.ndarray:
        """Return (n, 2) scores and uncertainties by a network trained without some folds."""
        scanner = self.scanner(entry, without, self.options.patches)
        run = f"{scanner.info.digest} {scanner.dtype} {self.options.patches}"
        results = ResultFile(self.workspace.cache / "compared" / "scores.jsonl", run)
        return scan_scores(scanner, [str(image.path) for image in images], False, results)

    def _compared(
        self,
        entry: Entry,
        images: list[LabelledImage],
        scores: np.ndarray,
        *,
        without: tuple[int, ...],
        budget: str = "",
    ) -> DetectorScores:
        scanner = self.scanner(entry, without)
        cost = cost_of(self.weights(entry, without), scanner)
        return DetectorScores(entry.name, images, scores[:, 0], scores[:, 1], cost, budget + _budget(entry, scanner))


def training_set(recipe: Any, without: tuple[int, ...]) -> list[LabelledImage]:
    """Return the images, or windows of packs, that a recipe is trained on without some folds of sources."""
    packs = getattr(recipe.data, "packs", "")
    images = read_packs(Path(packs)).windows if packs else read_images(*recipe.data.tables)
    return [image for image in images if fold_of(image.source) not in without]


def check_tables(entries: list[Entry], scored: list[LabelledImage], folds: int, without: tuple[int, ...]) -> str:
    """Return a line on images of a table whose sources the networks are trained on; "" if there are none.

    Args:
        entries: Entries to train.
        scored: Images of the table.
        folds: Number of folds of the cross-validation over sources.
        without: Folds that are held out instead of cross-validating, if any.

    Raises:
        UsageError: If a training without some folds of sources lacks a class, or no image of the table exists.
    """
    parts = [without] if without else [folds_of(number, folds) for number in range(folds)]
    trained: set[str] = set()
    for entry in entries:
        for part in {*parts, *([without] if scored else [])}:
            training = training_set(entry.recipe, part)
            if len({image.label for image in training}) < 2:
                named = f"without the folds {', '.join(map(str, part))}, " if part else ""
                raise UsageError(f"{entry.name}: {named}there are no real or no AI images to train on")
            trained |= {image.source for image in training} if part == without else set()
    if scored and not any(image.path.is_file() for image in scored):
        raise UsageError(f"--table: none of its files exists, such as {scored[0].path}")
    known = sum(image.source in trained for image in scored)
    return f"{known} of these {len(scored)} images are of sources that the networks were trained on." if known else ""


def prepare_to_ship(entries: list[Entry], folder: Path) -> None:
    """Make the folder of weights, with the backbones that they need."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        put_backbone_beside(folder / "any", Path(entry.recipe.data.backbone))


def ship_entries(
    trainer: EntryTrainer, entries: list[Entry], compared: list[DetectorScores], without: tuple[int, ...], folder: Path
) -> None:
    """Write the weights of each entry, calibrated by its scores of held-out images, and print their figures."""
    for entry, one in zip(entries, compared, strict=True):
        path = folder / f"{entry.stem}.safetensors"
        figures = calibrate_by_scores(trainer.weights(entry, without), one.images, one.scores, path)
        print(f"{path}: {json.dumps(figures)}")


def _budget(entry: Entry, scanner: Scanner) -> str:
    """Return the training budget in words, by the header of the weights."""
    trained, budget = scanner.header.training, "see its recipe"
    if "views" in trained:
        budget = "{views:,} views, {minutes} min on {machine}".format(**trained)
    if "encoded" in trained:
        budget += f", of {trained['encoded']:,} encoded images"
    return budget + (f", from {entry.recipe.data.pretrained}" if entry.recipe.data.pretrained else "")


def _holds(path: Path, recipe: Any) -> bool:
    """Return whether a file has weights of exactly this recipe and its data."""
    if not path.exists():
        return False
    try:
        known = load_detector(path)[1].training
    except CheckpointError:
        return False
    wanted = {"recipe": json.loads(json.dumps(dataclasses.asdict(recipe))), **data_digest(recipe)}
    return wanted.items() <= known.items()

"""Score a detection benchmark as in its papers: one row per generator or bucket, then mean and deviation; published figures."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np

from hidascan.lab.data.layouts import SHARED
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.metrics import auc, average_precision, class_accuracy

Column = Callable[[np.ndarray, np.ndarray], float]
SCORED = {  # columns in the papers of a layout; for other layouts, all
    "GenImage": ("accuracy",),
    "Tiny-GenImage": ("accuracy", "AP", "real accuracy", "fake accuracy"),
    "Chameleon": ("accuracy", "fake accuracy", "real accuracy"),
    "DRCT-2M": ("balanced accuracy",),  # each generator against all photos, weighted equally
    "HiRes-50K": ("accuracy",),
    "Synthbuster": ("AUC", "balanced accuracy"),
    "generators": ("accuracy", "AP"),
}


COLUMNS: dict[str, Column] = {
    "accuracy": lambda labels, scores: float(((scores >= 0.5) == labels).mean()),
    "AP": average_precision,
    "AUC": auc,
    "real accuracy": lambda labels, scores: class_accuracy(labels, scores, 0),
    "fake accuracy": lambda labels, scores: class_accuracy(labels, scores, 1),
    "balanced accuracy": lambda labels, scores: (
        (class_accuracy(labels, scores, 0) + class_accuracy(labels, scores, 1)) / 2
    ),
}


@dataclass(frozen=True)
class BenchRow:
    """Counts of readable images and figures by column, for one generator or bucket."""

    name: str
    real: int
    ai: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Bench:
    """A benchmark."""

    layout: str
    rows: list[BenchRow]  # sorted by name
    unreadable: int  # unreadable files, which are omitted
    notes: list[str]  # missing parts, one line each


def score(layout: str, images: list[LabelledImage], scores: np.ndarray) -> Bench:
    """Score images by p(AI) (n,), NaN for unreadable files."""
    readable = ~np.isnan(scores)
    labels, sources = np.array([image.label for image in images]), np.array([image.source for image in images])
    columns, rows, notes = SCORED.get(layout, tuple(COLUMNS)), [], []
    for name in sorted(set(sources) - {SHARED}, key=_in_order):
        here = readable & ((sources == name) | (sources == SHARED))
        truth, found = labels[here], scores[here]
        figures = {name: COLUMNS[name](truth, found) if len(truth) else float("nan") for name in columns}
        rows.append(BenchRow(name, int((truth == 0).sum()), int((truth == 1).sum()), figures))
        notes += [f"{name}: no {kind} images" for kind, label in (("real", 0), ("AI", 1)) if label not in truth]
    return Bench(layout, rows, int((~readable).sum()), notes)


def _in_order(name: str) -> tuple[bool, str]:
    return name.startswith("W>"), name  # the bucket of the largest images is last


def as_markdown(bench: Bench, *aligned: Bench) -> str:
    """Return the table of a benchmark, with aligned formats in additional columns, if measured."""
    columns = SCORED.get(bench.layout, tuple(COLUMNS))
    head = ["bucket" if bench.layout == "HiRes-50K" else "generator", "real", "AI"]
    for name in columns:
        head += [name, *(f"{name}, formats aligned" for _ in aligned)]
    cells, values = [], []
    for row in zip(bench.rows, *(one.rows for one in aligned), strict=True):
        numbers = [side.figures[name] for name in columns for side in row]
        values.append(numbers)
        cells.append([row[0].name, str(row[0].real), str(row[0].ai), *map(_per_cent, numbers)])
    spreads = np.array(values)
    for name, over in (("mean", np.nanmean), ("std", np.nanstd)):
        summed = [float(over(column)) if (~np.isnan(column)).any() else float("nan") for column in spreads.T]
        cells.append([f"**{name}**", "", "", *map(_per_cent, summed)])
    return markdown.table(head, cells)


def _per_cent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.2f}"


def published_as_markdown(benchmark: str) -> str:
    """Return a table of the published figures of a benchmark, best first; "" if there are none."""
    text = resources.files("hidascan.lab.measure").joinpath("published.toml").read_text(encoding="utf-8")
    figures = [row for row in tomllib.loads(text)["figures"] if row["benchmark"] == benchmark]
    rows = sorted(figures, key=lambda row: -row["accuracy"])
    if not rows:
        return ""
    numbers = ([float(row[name]) if name in row else "" for name in ("accuracy", "AP")] for row in rows)
    cells = [[row["system"], row["trained_on"], *shown] for row, shown in zip(rows, numbers, strict=True)]
    table = markdown.table(["system", "trained on", "accuracy, mean", "AP, mean"], cells, digits=2)
    return f"Published, by other systems under their own training (per cent):\n\n{table}"

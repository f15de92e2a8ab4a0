"""Compare detectors by their scores of the same images, overall and by family and domain: tables and plots."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hidascan.errors import RecipeError
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure import markdown
from hidascan.lab.measure.bench import COLUMNS
from hidascan.lab.measure.metrics import auc, interval_over_sources, tpr_at_fpr
from hidascan.lab.measure.speed import Cost

_SHOWN = (
    "AUC", "accuracy", "balanced accuracy", "AP", "TPR at 1 % FPR", "TPR at 5 % FPR", "real accuracy", "fake accuracy",
)  # fmt: skip
_PREDICTS = "predicts its errors"


@dataclass(frozen=True)
class DetectorScores:
    """Scores of one detector."""

    name: str
    images: list[LabelledImage]
    scores: np.ndarray  # (n,) p(AI), NaN for unreadable files
    uncertainties: np.ndarray  # (n,) standard deviations of scores, NaN if not estimated
    cost: Cost | None = None  # cost per image; None for an outside system
    budget: str = ""  # training budget, in words

    def readable(self) -> tuple[list[LabelledImage], np.ndarray, np.ndarray, np.ndarray]:
        """Return images, labels, scores and uncertainties of readable files."""
        kept = ~np.isnan(self.scores)
        images = [image for image, one in zip(self.images, kept.tolist(), strict=True) if one]
        return images, np.array([image.label for image in images]), self.scores[kept], self.uncertainties[kept]

    @cached_property
    def figures(self) -> dict[str, float]:
        """Figures by column; `_PREDICTS` is the AUC of the uncertainty as a predictor of errors at 0.5."""
        images, labels, scores, uncertainties = self.readable()
        low, high = interval_over_sources(auc, labels, scores, [image.source for image in images])
        wrong = ((scores >= 0.5) != labels).astype(int)
        return {name: column(labels, scores) for name, column in COLUMNS.items()} | {
            "TPR at 1 % FPR": tpr_at_fpr(labels, scores, 0.01),
            "TPR at 5 % FPR": tpr_at_fpr(labels, scores, 0.05),
            "AUC low": low,
            "AUC high": high,
            _PREDICTS: float("nan") if np.isnan(uncertainties).any() else auc(wrong, uncertainties),
        }


def as_markdown(compared: list[DetectorScores]) -> str:
    """Return the comparison as a table, best AUC first and in bold."""
    knowing = any(not np.isnan(row.figures[_PREDICTS]) for row in compared)
    head = ["detector", "n", "AUC", "95 % over sources", *_SHOWN[1:], *([_PREDICTS] if knowing else [])]
    head += ["ms", "GFLOPs", "parameters, M", "trained, M", "trained with"]
    cells = []
    for row in sorted(compared, key=lambda row: -row.figures["AUC"]):
        numbers: list[object] = [row.figures[name] for name in _SHOWN]
        numbers.insert(1, f"{row.figures['AUC low']:.3f} to {row.figures['AUC high']:.3f}")
        if knowing:
            numbers.append("" if np.isnan(row.figures[_PREDICTS]) else row.figures[_PREDICTS])
        cells.append([row.name, len(row.readable()[0]), *numbers, *_cost_cells(row.cost), row.budget])
    return markdown.table(head, cells, 0)


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [""] * 4
    millions = (f"{number / 1e6:.2f}" for number in (cost.parameters, cost.trained))
    return [f"{cost.milliseconds:.0f}", f"{cost.gflops:.1f}", *millions]


def short_names(names: list[str]) -> list[str]:
    """Shorten names RECIPE@NAME=VALUE... by the parts that all entries of a recipe share."""
    changes: dict[str, list[set[str]]] = {}
    for name in names:
        stem, *own = name.split("@")
        changes.setdefault(stem, []).append(set(own))
    common = {stem: set.intersection(*sets) for stem, sets in changes.items()}
    parts = [name.split("@") for name in names]
    return ["@".join([stem, *(one for one in own if one not in common[stem])]) for stem, *own in parts]


def by_kind(compared: list[DetectorScores]) -> str:
    """Return a table of the accuracy at 0.5, by AI family and real domain, with the best in bold."""
    parts = [accuracy_by_kind(one) for one in compared]
    kinds = sorted({kind for part in parts for kind in part})
    rows = []
    for kind in kinds:
        values = [part.get(kind, (float("nan"), 0)) for part in parts]
        best = np.nanmax([value for value, _ in values])
        shown = [f"**{value:.2f}**" if value == best else f"{value:.2f}" for value, _ in values]
        rows.append([*kind, str(max(count for _, count in values)), *shown])
    return markdown.table(["label", "kind", "n", *short_names([one.name for one in compared])], rows)


def accuracy_by_kind(compared: DetectorScores) -> dict[tuple[str, str], tuple[float, int]]:
    """Return (accuracy at 0.5, number) for each family of AI images and each domain of real ones."""
    images, labels, scores, _ = compared.readable()
    correct = (scores >= 0.5) == labels
    kinds = [("AI", one.family or "unknown") if one.label else ("real", one.domain or "unclear") for one in images]
    accuracies = {}
    for kind in set(kinds):
        here = np.array([other == kind for other in kinds])
        accuracies[kind] = float(correct[here].mean()), int(here.sum())
    return accuracies


def write_csv(path: Path, compared: list[DetectorScores]) -> None:
    """Write the comparison as CSV."""
    columns = [*_SHOWN, "AUC low", "AUC high", _PREDICTS]
    costs = [field.name for field in dataclasses.fields(Cost)]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["detector", "images", *columns, *costs, "trained with"])
        for row in compared:
            cost = [""] * len(costs) if row.cost is None else dataclasses.astuple(row.cost)
            out.writerow(
                [row.name, len(row.readable()[0]), *(row.figures[name] for name in columns), *cost, row.budget]
            )


def write_report(title: str, compared: list[DetectorScores], path: Path, more: str = "") -> None:
    """Print the comparison, with `more` below, and write it to `path` with the suffixes .md, .csv, .png and .svg.

    The paths of the images are written to `path`.txt.
    """
    images = compared[0].images
    sources = len({image.source for image in images})
    text = f"{title}: {len(images)} images of {sources} sources.\n\n{as_markdown(compared)}\n\n{by_kind(compared)}"
    text += f"\n\n{more}" if more else ""
    print(text, end="\n\n", flush=True)
    paths = "".join(f"{image.path}\n" for image in images)
    path.with_suffix(".txt").write_text(paths, encoding="utf-8", errors="surrogateescape")
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    write_csv(path.with_suffix(".csv"), compared)
    plot_cost(compared, path)
    plot_kinds(compared, path.with_name(f"{path.name}-by-kind"))


def read_outside(text: str) -> Callable[[list[LabelledImage]], DetectorScores]:
    """Read NAME=FILE, the scores of an outside system; return a function that looks up those of images.

    The file is a CSV or TSV with the columns path and score.

    Raises:
        RecipeError: If it cannot be read.
    """
    name, _, file = text.partition("=")
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
        rows = csv.DictReader(lines, delimiter="\t" if "\t" in lines[0] else ",")
        known = {row["path"]: float(row["score"]) for row in rows if row["score"] not in ("", None)}
    except (OSError, LookupError, ValueError) as error:
        raise RecipeError(f"{text}: expected NAME=FILE, with the columns path and score ({error})") from None
    if any(score < 0 or score > 1 for score in known.values()):  # NaN is a missing one
        raise RecipeError(f"{file}: scores must be within 0 and 1")

    def scores_of(images: list[LabelledImage]) -> DetectorScores:
        scores = np.array([known.get(str(image.path), np.nan) for image in images])
        return DetectorScores(name, images, scores, np.full(len(images), np.nan), budget="as published")

    return scores_of


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def plot_cost(compared: list[DetectorScores], path: Path) -> None:
    """Plot AUC, with its interval, against milliseconds per image, as `path`.png and `path`.svg."""
    figure = _figure(9, 6)
    axes = figure.subplots()
    for row, name in zip(compared, short_names([row.name for row in compared]), strict=True):
        if row.cost is None:
            axes.axhline(row.figures["AUC"], linestyle=":", color="grey")
            axes.annotate(name, (0.01, row.figures["AUC"]), xycoords=("axes fraction", "data"), va="bottom")
            continue
        value = row.figures["AUC"]
        spread = [[value - row.figures["AUC low"]], [row.figures["AUC high"] - value]]
        axes.errorbar(row.cost.milliseconds, value, yerr=spread, fmt="o", capsize=3)
        axes.annotate(name, (row.cost.milliseconds, value), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.3)  # room for names
    axes.set(xscale="log", xlabel="milliseconds per image of 1024 x 768", ylabel="AUC, 95 % over sources")
    axes.grid(alpha=0.3)
    _save(figure, path)


def plot_kinds(compared: list[DetectorScores], path: Path) -> None:
    """Plot the accuracy at 0.5, with a group of bars for each family of AI images and domain of real ones."""
    parts = [accuracy_by_kind(one) for one in compared]
    kinds = sorted({kind for part in parts for kind in part})
    figure = _figure(max(8, 1.1 * len(kinds)), 4.5)
    width = 0.85 / len(parts)
    axes = figure.subplots()
    for number, (name, part) in enumerate(zip(short_names([one.name for one in compared]), parts, strict=True)):
        places = np.arange(len(kinds)) + (number - (len(parts) - 1) / 2) * width
        axes.bar(places, [part.get(kind, (0.0, 0))[0] for kind in kinds], width, label=name)
    axes.set_xticks(np.arange(len(kinds)), [f"{kind}\n({label})" for label, kind in kinds], fontsize=7)
    axes.set(ylim=(0, 1.02), ylabel="accuracy at 0.5")
    axes.legend(fontsize=6, ncols=4)
    _save(figure, path)


def plot_curves(curves: dict[str, dict[str, list[tuple[float, float]]]], path: Path) -> None:
    """Plot a panel per perturbation, a line per detector; curves[perturbation][detector] lists (strength, figure)."""
    figure = _figure(4 * len(curves), 3.6)
    panels = figure.subplots(1, len(curves), squeeze=False)
    for axes, (perturbation, lines) in zip(panels[0], curves.items(), strict=True):
        for name, points in lines.items():
            strengths, figures = np.array(points).T
            axes.plot(strengths, figures, marker="o", markersize=3, label=name)
        axes.set(title=perturbation, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("AUC; of masking, recall at 0.5")
    panels[0][-1].legend(fontsize=7)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=120)

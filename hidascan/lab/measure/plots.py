"""Plots of comparisons, as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hidascan.lab.measure.comparison import Compared, Row, shares_right, short_names


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plot_cost(rows: list[Row], path: Path) -> None:
    """Plot AUC, with its interval, against milliseconds per image, as `path`.png and `path`.svg."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(9, 6))
    for row, name in zip(rows, short_names([row.name for row in rows]), strict=True):
        if row.cost is None:
            axes.axhline(row.figures["AUC"], linestyle=":", color="grey")
            axes.annotate(name, (0.01, row.figures["AUC"]), xycoords=("axes fraction", "data"), va="bottom")
            continue
        value = row.figures["AUC"]
        spread = [[value - row.interval[0]], [row.interval[1] - value]]
        axes.errorbar(row.cost.milliseconds, value, yerr=spread, fmt="o", capsize=3)
        axes.annotate(name, (row.cost.milliseconds, value), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.3)  # room for names
    axes.set(xscale="log", xlabel="milliseconds an image of 1024 x 768", ylabel="AUC, 95 % over sources")
    axes.grid(alpha=0.3)
    _save(figure, path)


def plot_kinds(compared: list[Compared], path: Path) -> None:
    """Plot the share on its side of 0.5, with a group of bars for each family of AI images and domain of real ones."""
    pyplot = _pyplot()
    parts = [shares_right(one) for one in compared]
    kinds = sorted({kind for part in parts for kind in part})
    figure, axes = pyplot.subplots(figsize=(max(8, 1.1 * len(kinds)), 4.5))
    width = 0.85 / len(parts)
    for number, (name, part) in enumerate(zip(short_names([one.name for one in compared]), parts, strict=True)):
        places = np.arange(len(kinds)) + (number - (len(parts) - 1) / 2) * width
        axes.bar(places, [part.get(kind, (0.0, 0))[0] for kind in kinds], width, label=name)
    axes.set_xticks(np.arange(len(kinds)), [f"{kind}\n({label})" for label, kind in kinds], fontsize=7)
    axes.set(ylim=(0, 1.02), ylabel="share on its side of 0.5")
    axes.legend(fontsize=6, ncols=4)
    _save(figure, path)


def plot_curves(curves: dict[str, dict[str, list[tuple[float, float]]]], path: Path) -> None:
    """Plot a panel per perturbation, a line per detector; curves[perturbation][detector] lists (strength, figure)."""
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3.6), squeeze=False)
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
    _pyplot().close(figure)

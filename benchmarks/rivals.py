"""Compare hidascan with other commands, alternately on the same images: seconds, memory, AUC, TPR, and a plot.

    python -m benchmarks.rivals TABLE_OR_FOLDER --out DIR [--limit 100] NAME=COMMAND...

Each COMMAND gets the paths on stdin, one per line, and writes CSV with the columns path and score on stdout, as
`hidascan - --csv - -q` does; the score may be empty. So do `benchmarks/outside_sahu65.py`, `outside_minosse.py` and
`outside_timm.py`:

    hidascan='hidascan - --csv - -q'  fast='hidascan - --fast --csv - -q'  npr='hidascan - --weights npr --csv - -q'
    patches='hidascan - --patches 3 --csv - -q'  minosse='/tmp/minosse/bin/python benchmarks/outside_minosse.py'
    sahu65='/tmp/sahu65/bin/python benchmarks/outside_sahu65.py'  'timm loop=python -m benchmarks.outside_timm'

Seconds are those of the whole command, its start included. The images are spread over sizes: each is the next in a list
ordered by size, at even steps.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.fast import images_of, megapixels
from benchmarks.memory import tree_memory
from hidascan.lab.measure.markdown import table
from hidascan.lab.measure.metrics import auc, tpr_at_fpr

matplotlib.use("Agg")
from matplotlib import pyplot


@dataclass(frozen=True)
class Ran:
    """Results of a command; AUC and TPR at 1 % FPR are None without labels of both classes or without scores."""

    name: str
    seconds: float
    peak: int  # MB
    scored: int
    auc: float | None
    tpr: float | None


def run(name: str, command: list[str], images: list[tuple[Path, int | None]]) -> Ran:
    """Run a command on images."""
    started, peak = time.perf_counter(), 0
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    output: list[str] = []
    done = threading.Event()

    def converse() -> None:
        output.append(running.communicate("".join(f"{path}\n" for path, _ in images))[0])
        done.set()

    threading.Thread(target=converse, daemon=True).start()
    while not done.wait(0.2):
        peak = max(peak, tree_memory(running.pid))
    seconds = time.perf_counter() - started
    scores = {row["path"]: float(row["score"]) for row in csv.DictReader(output[0].splitlines()) if row["score"]}
    if len(scores) == 0 and running.returncode not in (0, 1):
        raise SystemExit(f"{name}: exit code {running.returncode}")
    both = [(label, scores[str(path)]) for path, label in images if label is not None and str(path) in scores]
    labels, values = np.array([label for label, _ in both]), np.array([value for _, value in both])
    known = {0, 1} == set(labels.tolist())
    figures = (auc(labels, values), tpr_at_fpr(labels, values, 0.01)) if known else (None, None)
    return Ran(name, seconds, peak, len(scores), *figures)


def spread_over_sizes(images: list[tuple[Path, int | None]], count: int) -> list[tuple[Path, int | None]]:
    """Choose images at even steps of a list ordered by size, labels in turns as far as there are both."""
    chosen: list[tuple[Path, int | None]] = []
    labels = sorted({label for _, label in images}, key=str)
    for label in labels:
        some = sorted((one for one in images if one[1] == label), key=lambda one: megapixels(one[0]))
        places = np.linspace(0, len(some) - 1, min(len(some), count // len(labels))).round().astype(int)
        chosen += [some[place] for place in places]
    return chosen


def plot(rows: list[Ran], images: int, path: Path) -> None:
    """Plot AUC against seconds per image, as PNG and SVG; commands without AUC are lines."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for place, row in enumerate(sorted(rows, key=lambda row: row.seconds)):
        each = row.seconds / images
        if row.auc is None:
            axes.axvline(each, linestyle=":", color="grey")
            axes.annotate(row.name, (each, 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=8)
        else:
            axes.plot(each, row.auc, "o")
            beside = (5, (4, -12)[place % 2])  # neighbours often lie close together
            axes.annotate(row.name, (each, row.auc), xytext=beside, textcoords="offset points", fontsize=8)
    axes.margins(x=0.3)
    axes.set(xscale="log", xlabel="seconds per image, all included", ylabel="AUC")
    for formats in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formats(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where")
    parser.add_argument("commands", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    images = spread_over_sizes(images_of(given.where), given.limit)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for text in given.commands:
        name, _, command = text.partition("=")
        rows.append(run(name, shlex.split(command), images))
        print(rows[-1], file=sys.stderr, flush=True)
    cells = [
        [row.name, f"{row.seconds:.1f}", f"{row.seconds / len(images):.2f}", str(row.peak), str(row.scored),
         *("" if figure is None else f"{figure:.3f}" for figure in (row.auc, row.tpr))]
        for row in rows
    ]  # fmt: skip
    text = table(["", "seconds", "seconds per image", "peak MB", "scored", "AUC", "TPR at 1 % FPR"], cells)
    print(text)
    (given.out / "rivals.md").write_text(f"{len(images)} images\n\n{text}\n", encoding="utf-8")
    plot(rows, len(images), given.out / "rivals")


if __name__ == "__main__":
    main()

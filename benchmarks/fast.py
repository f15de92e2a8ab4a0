"""Measure the costs and savings of `--fast`: each image is scanned with it and in full, in turn.

    python -m benchmarks.fast TABLE_OR_FOLDER [--limit 200] [--least 0] [--kept FILE]

By image size: numbers of different and reversed verdicts, patches examined (median and 95th percentile), images scanned
in full after all, error of scores, and seconds; with labels, also the AUC of both. --least is the minimum size of an
image in megapixels; --kept is a file of results to resume from.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from hidascan import Scanner, ScanOptions
from hidascan.errors import HidascanError
from hidascan.examination import SUSPECTS
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import spread
from hidascan.lab.measure.markdown import table
from hidascan.lab.measure.metrics import auc

FIRST = 7 + SUSPECTS  # patches that a scan on the CPU examines before it may stop
SIZES = (0.5, 2.0, 8.0, 16.0)  # megapixels: borders of the rows
Image.MAX_IMAGE_PIXELS = None


def megapixels(path: Path) -> float:
    """Return the size of an image by its header; 0 without a header."""
    try:
        with Image.open(path) as image:
            return image.width * image.height / 1e6
    except OSError:
        return 0.0


def images_of(where: str) -> list[tuple[Path, int | None]]:
    """Return images and labels of a table or a folder, spread over its sources; None for unknown labels."""
    try:
        labelled = read_images(where)
        return [(image.path, image.label) for image in spread(labelled, len(labelled))]
    except HidascanError:
        return [(path, None) for path in sorted(Path(where).rglob("*")) if megapixels(path)]


def measure(scanners: dict[str, Scanner], path: Path, label: int | None) -> dict[str, Any] | None:
    """Scan an image with both; None if it cannot be read."""
    row: dict[str, Any] = {"path": str(path), "label": label, "megapixels": megapixels(path)}
    for name, scanner in scanners.items():
        found = next(scanner.scan([path]))
        if found.score is None:
            return None
        row[name] = [found.verdict, found.score, found.patches, found.seconds]
    return row


def line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Return a row with the figures of some images."""
    verdicts = [(row["fast"][0], row["full"][0]) for row in rows]
    turned = sum({"ai", "real"} == set(pair) for pair in verdicts)
    fast, full = (np.array([row[which][1:] for row in rows], float) for which in ("fast", "full"))
    error, seconds = np.abs(fast[:, 0] - full[:, 0]), (np.median(fast[:, 2]), np.median(full[:, 2]))
    whole = (fast[:, 1] == full[:, 1]) & (full[:, 1] > FIRST)  # smaller ones always are
    return [
        name,
        str(len(rows)),
        f"{sum(one != other for one, other in verdicts)} ({turned})",
        f"{np.median(fast[:, 1]):g} / {np.quantile(fast[:, 1], 0.95):g} of {np.median(full[:, 1]):g}",
        f"{whole.mean():.0%}",
        f"{error.mean():.3f} / {np.quantile(error, 0.95):.3f}",
        f"{seconds[0]:.2f} / {seconds[1]:.2f}",
        f"{full[:, 2].sum() / fast[:, 2].sum():.1f}",
        *_aucs(rows, fast[:, 0], full[:, 0]),
    ]


def _aucs(rows: list[dict[str, Any]], fast: np.ndarray, full: np.ndarray) -> list[str]:
    labels = np.array([-1 if row["label"] is None else row["label"] for row in rows])
    known = {0, 1} == set(labels.tolist())
    return [f"{auc(labels, scores):.4f}" if known else "" for scores in (fast, full)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--least", type=float, default=0.0)
    parser.add_argument("--kept", type=Path)
    given = parser.parse_args()
    options = ScanOptions()
    scanners = {"full": Scanner(options), "fast": Scanner(replace(options, fast=True))}
    chosen = [one for one in images_of(given.where) if megapixels(one[0]) >= given.least][: given.limit]
    rows: list[dict[str, Any]] = []
    if given.kept and given.kept.exists():
        rows = [json.loads(text) for text in given.kept.read_text(encoding="utf-8").splitlines()]
    done = {row["path"] for row in rows}
    for path, label in tqdm([one for one in chosen if str(one[0]) not in done], disable=None):
        row = measure(scanners, path, label)
        if row is None:
            continue
        rows.append(row)
        if given.kept:
            with given.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    borders = (0.0, *SIZES, np.inf)
    lines = [line("all", rows)] if rows else []
    for low, high in itertools.pairwise(borders):
        some = [row for row in rows if low <= row["megapixels"] < high]
        if some:
            lines.append(line(f"{low:g} to {high:g} MP", some))
    columns = "images, verdicts that differ (flipped), patches (median / 95 %) of all, scanned in full"
    columns += ", error of scores (mean / 95 %), median seconds (fast / full), times as fast, AUC fast, AUC full"
    print(table(["", *columns.split(", ")], lines))


if __name__ == "__main__":
    main()

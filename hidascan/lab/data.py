"""Label tables, and the law by which training draws images from them: by class, then group, then image."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hidascan.errors import RecipeError


@dataclass(frozen=True)
class LabelledImage:
    """One row of a label table. label: 1 = AI, 0 = real. group: generator, or kind of real image."""

    path: Path
    label: int
    group: str
    source: str


def read_table(table: Path) -> list[LabelledImage]:
    """Read a TSV with the columns path (relative to the table's folder), label, group and source.

    Raises RecipeError if the table is missing, lacks a column, or holds a label other than 0 and 1.
    """
    try:
        with Path(table).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise RecipeError(f"{table}: {error.strerror}") from None
    if not rows:
        raise RecipeError(f"{table}: the table has no rows")
    missing = {"path", "label", "group", "source"} - rows[0].keys()
    if missing:
        raise RecipeError(f"{table}: column missing: {', '.join(sorted(missing))}")
    if any(row["label"] not in ("0", "1") for row in rows):
        raise RecipeError(f"{table}: labels must be 0 (real) or 1 (AI)")
    base = Path(table).parent
    return [LabelledImage(base / r["path"], int(r["label"]), r["group"], r["source"]) for r in rows]


def spread(images: list[LabelledImage], count: int) -> list[LabelledImage]:
    """`count` of the images at even steps, so that every source has its share; all if there are no more."""
    count = min(count, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def tables_sha256(tables: list[Path]) -> str:
    """One digest over the bytes of all tables, so that a checkpoint can say what it was trained on."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(Path(table).read_bytes())
    return digest.hexdigest()


class BalancedPicker:
    """Draws images of one class, each (group, source) with weight n ** power: a big source must not drown the rest."""

    def __init__(self, images: list[LabelledImage], label: int, power: float):
        by_group = defaultdict(list)
        for image in images:
            if image.label == label:
                by_group[image.group, image.source].append(image)
        if not by_group:
            raise RecipeError(f"the tables hold no image with label {label}")
        self._groups = [by_group[key] for key in sorted(by_group)]
        weights = np.array([len(group) for group in self._groups], dtype=float) ** power
        self._weights = weights / weights.sum()

    def pick(self, rng: np.random.Generator) -> LabelledImage:
        """One image."""
        group = self._groups[rng.choice(len(self._groups), p=self._weights)]
        return group[rng.integers(len(group))]

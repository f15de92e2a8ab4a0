"""Label tables: paths of images, with labels, groups and sources."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hidascan.errors import RecipeError
from hidascan.lab.data.families import domain_of, family_of

FOLDS = 6


@dataclass(frozen=True)
class LabelledImage:
    """One row of a label table.

    Attributes:
        path: Path of the file.
        label: 1 for AI, 0 for real.
        group: Generator, or kind of real image.
        source: Collection of the image; images of one source share more than their label.
        domain: Kind of picture: photo, artwork, render, screenshot, document; "" if unclear.
        family: Family of the generator; "" for real images, and if unknown.
    """

    path: Path
    label: int
    group: str
    source: str
    domain: str = ""
    family: str = ""


def read_table(table: str | Path) -> list[LabelledImage]:
    """Read a TSV with the columns path (relative to the table's folder), label, group, source, perhaps domain, family.

    Raises:
        RecipeError: If the table is missing, lacks a column, or holds a label other than 0 and 1.
    """
    try:
        with Path(table).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise RecipeError(f"{table}: {error.strerror}") from None
    if not rows:
        raise RecipeError(f"{table}: the table is empty")
    missing = {"path", "label", "group", "source"} - rows[0].keys()
    if missing:
        raise RecipeError(f"{table}: column missing: {', '.join(sorted(missing))}")
    if any(row["label"] not in ("0", "1") for row in rows):
        raise RecipeError(f"{table}: labels must be 0 (real) or 1 (AI)")
    return [_image(Path(table).parent, row) for row in rows]


def _image(base: Path, row: dict[str, str]) -> LabelledImage:
    label, group = int(row["label"]), row["group"]
    domain, family = row.get("domain"), row.get("family")
    return LabelledImage(
        base / row["path"],
        label,
        group,
        row["source"],
        domain_of(group, label) if domain is None else domain,
        family_of(group, label) if family is None else family,
    )


def spread(images: list[LabelledImage], count: int) -> list[LabelledImage]:
    """Take `count` images at even steps, so that every source is represented; all if there are fewer."""
    count = min(count, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def capped(images: list[LabelledImage], cap: int) -> list[LabelledImage]:
    """Take at most `cap` images of each (group, source), in the order of hashes; breadth matters more than number."""
    kept: dict[tuple[str, str, int], int] = defaultdict(int)
    chosen = []
    for image in sorted(images, key=lambda image: _digest(f"{image.source} {image.group} {image.path.name}")):
        key = (image.source, image.group, image.label)
        kept[key] += 1
        if kept[key] <= cap:
            chosen.append(image)
    return chosen


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def tables_sha256(tables: Iterable[str | Path]) -> str:
    """Return a SHA-256 of the bytes of all tables, to record the training data of a checkpoint."""
    digest = hashlib.sha256()
    for table in tables:
        path = Path(table)
        for file in (path,) if path.is_file() else sorted(path.rglob("*")):
            digest.update(file.read_bytes() if path.is_file() else str(file.relative_to(path)).encode())
    return digest.hexdigest()


def fold_of(source: str) -> int:
    """Return the fold, 0..5, of a source, by a hash of its name, so that no source is in two folds."""
    return int.from_bytes(_digest(source)[:4], "big") % FOLDS

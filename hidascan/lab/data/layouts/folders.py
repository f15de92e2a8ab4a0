"""Helpers of layout readers. Suffixes and folder names are matched regardless of case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hidascan.image.formats import suffixes
from hidascan.lab.data.tables import LabelledImage

CLASSES = {
    "0_real": 0, "real": 0, "nature": 0, "authentic": 0,
    "1_fake": 1, "fake": 1, "ai": 1, "generated": 1,
}  # fmt: skip
SHARED = "*"  # source of real images that every generator is compared with


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder with the suffix of an image, sorted."""
    known = suffixes()
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file())


def images_below(folder: Path, label: int, generator: str, source: str | None = None) -> list[LabelledImage]:
    """Label all images below a folder; `source` is the unit of comparison, by default the generator."""
    group = generator if label else f"{generator} (real)"
    return [LabelledImage(path, label, group, source or generator) for path in files_below(folder)]


def folders_of(folder: Path) -> list[Path]:
    """Return the direct subfolders of a folder, sorted."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def class_folders(folder: Path) -> dict[Path, int]:
    """Map the class folders directly below a folder to their labels."""
    return {entry: CLASSES[entry.name.lower()] for entry in folders_of(folder) if entry.name.lower() in CLASSES}


def named(folder: Path, *names: str) -> Path | None:
    """Return the first direct subfolder with one of these names, ignoring case."""
    by_name = {entry.name.lower(): entry for entry in folders_of(folder)}
    return next((by_name[name] for name in names if name in by_name), None)


def all_folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and all folders below it, sorted."""
    yield folder
    yield from sorted(path for path in folder.rglob("*") if path.is_dir())

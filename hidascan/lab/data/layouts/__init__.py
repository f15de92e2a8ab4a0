"""Read labelled images from a table, or from a folder in the layout of a benchmark, with one reader per layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hidascan.errors import RecipeError
from hidascan.lab.data.layouts import detection
from hidascan.lab.data.layouts.folders import CLASSES
from hidascan.lab.data.tables import LabelledImage, read_table

Reader = Callable[[Path], "list[LabelledImage] | None"]

LAYOUTS: dict[str, Reader] = {  # the first match counts, so specific layouts come first
    "GenImage": detection.read_genimage,
    "Tiny-GenImage": detection.read_tiny_genimage,
    "HiRes-50K": detection.read_hires,
    "DRCT-2M": detection.read_drct,
    "Synthbuster": detection.read_synthbuster,
    "Chameleon": detection.read_chameleon,
    "class folders": detection.read_classes,
    "generators": detection.read_generators,
}
EXPECTED = f"folders named {', '.join(CLASSES)}, imagenet_*/val, train2017 or val2017, or files named r*.png"


def read_images(where: str | Path) -> list[LabelledImage]:
    """Read the images of a label table, or of a folder in the first matching layout.

    Raises:
        RecipeError: If the table is missing, or no layout matches.
    """
    return read_layout(where)[1] if Path(where).is_dir() else read_table(where)


def read_layout(where: str | Path) -> tuple[str, list[LabelledImage]]:
    """Return the name of the first layout that matches a folder, and its images.

    Raises:
        RecipeError: If the folder is missing, or no layout matches.
    """
    path = Path(where)
    if not path.is_dir():
        raise RecipeError(f"{path}: no such folder")
    for name, reader in LAYOUTS.items():
        images = reader(path)
        if images:
            return name, images
    raise RecipeError(f"{path}: no known layout ({', '.join(LAYOUTS)}); expected {EXPECTED}")

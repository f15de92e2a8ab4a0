"""Where labelled images come from: a table, or a folder in the layout of a benchmark. One reader a layout.

Suffixes and names of class folders vary in case, so they are matched without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hidascan.errors import RecipeError
from hidascan.image.formats import suffixes
from hidascan.lab.data.tables import LabelledImage, read_table

_CLASSES = {
    "0_real": 0, "real": 0, "nature": 0, "authentic": 0,
    "1_fake": 1, "fake": 1, "ai": 1, "generated": 1,
}  # fmt: skip

Reader = Callable[[Path], list[LabelledImage] | None]


def read_images(where: str | Path) -> list[LabelledImage]:
    """Read the images of a label table, or of a folder in the first layout that it fits.

    Raises:
        RecipeError: If there is no such table, or no layout fits.
    """
    path = Path(where)
    if not path.is_dir():
        return read_table(path)
    for reader in LAYOUTS.values():
        images = reader(path)
        if images:
            return images
    raise RecipeError(f"{path}: no known layout ({', '.join(LAYOUTS)}); looked for folders named {', '.join(_CLASSES)}")


def _of_folder(folder: Path, label: int, group: str, source: str) -> list[LabelledImage]:
    known = suffixes()
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file())
    return [LabelledImage(path, label, group, source) for path in files]


def _class_folders(folder: Path) -> dict[Path, int]:
    """Map the class folders right below a folder to their labels."""
    return {
        entry: _CLASSES[entry.name.lower()]
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name.lower() in _CLASSES
    }


def read_classes(folder: Path) -> list[LabelledImage] | None:
    """Read `0_real/`, `1_fake/` and the like right below a folder, as Chameleon has them."""
    classes = _class_folders(folder).items()
    return [image for place, label in classes for image in _of_folder(place, label, place.name, folder.name)]


def read_generators(folder: Path) -> list[LabelledImage] | None:
    """Read `<generator>/[<class>/]{0_real,1_fake}/`, as ForenSynths and AIGCDetectBenchmark have them."""
    images = []
    for place in sorted(path for path in folder.rglob("*") if path.is_dir()):
        for inner, label in _class_folders(place).items():
            generator = place.relative_to(folder).parts[0]
            images += _of_folder(inner, label, generator if label else f"{generator} (real)", generator)
    return images


LAYOUTS: dict[str, Reader] = {
    "class folders": read_classes,
    "generators": read_generators,
}

"""Read labelled images from a table, or images of a benchmark from a folder in its published layout.

Suffixes and folder names are matched regardless of case.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hidascan.errors import RecipeError
from hidascan.image.formats import suffixes
from hidascan.lab.data.tables import EditedImage, LabelledImage, read_table

CLASSES = {
    "0_real": 0, "real": 0, "nature": 0, "authentic": 0,
    "1_fake": 1, "fake": 1, "ai": 1, "generated": 1,
}  # fmt: skip
SHARED = "*"  # source of real images that every generator is compared with
_REAL_FOLDERS = ("mscoco", "coco", "real", "0_real", "raise", "raise-1k")

# Levels: a regular expression for the name of each folder on the way to the images, in which the groups `generator` and
# `class` name what they stand for. Any number of folders may stand for DEPTH.
CLASS, GENERATOR, DEPTH = f"(?P<class>{'|'.join(CLASSES)})", "(?P<generator>.+)", ""


def read_images(*tables: str | Path) -> list[LabelledImage]:
    """Read the images of label tables, or of folders, each in the first layout that matches.

    Raises:
        RecipeError: If a table is missing, or no layout matches.
    """
    read = [read_layout(one)[1] if Path(one).is_dir() else read_table(one) for one in tables]
    return [image for images in read for image in images]


def read_layout(where: str | Path) -> tuple[str, list[LabelledImage]]:
    """Return the name of the first detection layout that matches a folder, and its images.

    Raises:
        RecipeError: If the folder is missing, or no layout matches.
    """
    path = Path(where)
    if not path.is_dir():
        raise RecipeError(f"{path}: no such folder")
    for name, reader in LAYOUTS.items():
        if images := reader(path):
            return name, images
    raise RecipeError(f"{path}: no known layout ({', '.join(LAYOUTS)}); expected {EXPECTED}")


def read_edited(folder: Path) -> tuple[str, list[EditedImage]] | None:
    """Return the name of the first localisation layout that matches a folder, and its images; None without a match.

    Raises:
        RecipeError: If a table that pairs images with masks cannot be read.
    """
    for name, reader in EDITED.items():
        try:
            images = reader(folder)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise RecipeError(f"{folder}: {name}: its table cannot be read ({error})") from None
        if images:
            return name, images
    return None


def read_levels(folder: Path, levels: tuple[str, ...], name: str = "", file: str = ".*") -> list[LabelledImage]:
    """Read the images of a layout; none if it does not match.

    Without a level of classes, folders with a name such as `real` hold photos that every generator is compared with.
    `name` is that of the generator, if no level gives it; `file` is a regular expression for the names of the files.
    """
    images = []
    for place, named_by in _descend(folder, levels, {}):
        generator = named_by.get("generator", name)
        real = generator.lower() in _REAL_FOLDERS
        label = CLASSES[named_by["class"].lower()] if "class" in named_by else int(not real)
        source = SHARED if "class" not in named_by and real else generator
        group = generator if label else f"{generator} (real)"
        files = [path for path in files_below(place) if re.fullmatch(file, path.name, re.IGNORECASE)]
        images += [LabelledImage(path, label, group, source) for path in files]
    return images


def read_classes(folder: Path) -> list[LabelledImage]:
    """Read `0_real/`, `1_fake/` and similar subfolders."""
    images = []
    for place, named_by in _descend(folder, (CLASS,), {}):
        label = CLASSES[named_by["class"].lower()]
        images += [LabelledImage(path, label, place.name, folder.name) for path in files_below(place)]
    return images


def read_real(folder: Path) -> list[LabelledImage]:
    """Read a folder of photos to compare every generator of a benchmark with."""
    return [LabelledImage(path, 0, f"{folder.name} (real)", SHARED) for path in files_below(folder)]


def _descend(folder: Path, levels: tuple[str, ...], groups: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the folders at the end of the levels, sorted, and the groups of their names."""
    if not levels:
        yield folder, groups
    elif levels[0] == DEPTH:
        yield from _descend(folder, levels[1:], groups)
        for entry in (entry for entry in folders_of(folder) if not entry.is_symlink()):  # which may form a circle
            yield from _descend(entry, levels, groups)
    else:
        for entry in folders_of(folder):
            if match := re.fullmatch(levels[0], entry.name, re.IGNORECASE):
                yield from _descend(entry, levels[1:], groups | match.groupdict())


def read_autosplice(folder: Path) -> list[EditedImage]:
    """Read `Authentic/`, `Forged_JPEG{100,90,75}/` and `Mask/`; the mask of `12_3.jpg` is `12_mask.png`."""
    authentic, masks = named(folder, "authentic"), named(folder, "mask")
    if authentic is None or masks is None:
        return []
    by_name = {path.name.lower(): path for path in files_below(masks)}
    images = _untouched(authentic, "Authentic")
    for place in folders_of(folder):
        if place.name.lower().startswith("forged"):
            images += _edited(place, lambda stem: by_name.get(f"{stem.split('_')[0].lower()}_mask.png"), place.name)
    return images


def read_cocoglide(folder: Path) -> list[EditedImage]:
    """Read `real/`, `fake/` and `mask/`, paired by the rows of `table.csv`, regardless of column names."""
    places = {name: named(folder, name) for name in ("real", "fake", "mask")}
    table = next((path for path in folder.iterdir() if path.name.lower() == "table.csv"), None)
    if table is None or None in places.values():
        return []
    files = {name: {path.name: path for path in files_below(place)} for name, place in places.items() if place}
    images = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        for cells in csv.reader(file):
            names = [Path(cell.strip()).name for cell in cells]
            of = {kind: next((known[name] for name in names if name in known), None) for kind, known in files.items()}
            if of["real"]:
                images.append(EditedImage(of["real"], None, "real"))
            if of["fake"] and of["mask"]:
                images.append(EditedImage(of["fake"], of["mask"], "fake"))
    return images


def read_br_gen(folder: Path) -> list[EditedImage]:
    """Read `<split>/{Au,Tp,Gt}` of BR-Gen: unedited images, edited ones, and masks of the same names."""
    images = []
    for split in folders_of(folder):
        authentic, tampered, truth = (named(split, name) for name in ("au", "tp", "gt"))
        if tampered is not None and truth is not None:
            masks = {path.stem: path for path in files_below(truth)}
            images += _edited(tampered, masks.get, split.name)
            images += _untouched(authentic, split.name)
    return images


def read_tgif(folder: Path) -> list[EditedImage]:
    """Read the split `testing` of `masks`, `original`, `<model>-sp` and `<model>-fr` of TGIF.

    Masks have the same names; `sp` images are spliced back into the photo, `fr` images are fully regenerated.
    """
    masks, originals = named(folder, "masks"), named(folder, "original")
    if masks is None or originals is None:
        return []
    by_name = {path.stem: path for path in files_below(named(masks, "testing"))}

    def mask_of(stem: str) -> Path | None:
        return by_name.get(stem) or by_name.get(stem.split("_")[0])

    images = _untouched(named(originals, "testing"), "original")
    for place in folders_of(folder):
        if place.name.lower().endswith(("-sp", "-fr")):
            regenerated = place.name.lower().endswith("-fr")
            images += _edited(named(place, "testing"), mask_of, place.name, regenerated)
    return images


def _untouched(place: Path | None, group: str) -> list[EditedImage]:
    return [EditedImage(path, None, group) for path in files_below(place)]


def _edited(
    place: Path | None, mask_of: Callable[[str], Path | None], group: str, regenerated: bool = False
) -> list[EditedImage]:
    """Read the images below a folder that have a mask; `mask_of` returns it by the stem of their name."""
    pairs = [(path, mask_of(path.stem)) for path in files_below(place)]
    return [EditedImage(path, mask, group, regenerated=regenerated) for path, mask in pairs if mask is not None]


def files_below(folder: Path | None) -> list[Path]:
    """Return all files below a folder with the suffix of an image, sorted; none without a folder."""
    known = suffixes()
    paths = folder.rglob("*") if folder else ()
    return sorted(path for path in paths if path.suffix.lower() in known and path.is_file())


def folders_of(folder: Path) -> list[Path]:
    """Return the direct subfolders of a folder, sorted."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def named(folder: Path, name: str) -> Path | None:
    """Return the direct subfolder with a name, ignoring case."""
    return next((entry for entry in folders_of(folder) if entry.name.lower() == name), None)


LAYOUTS: dict[str, Callable[[Path], list[LabelledImage]]] = {  # the first match counts, so specific ones come first
    # Without the training sets.
    "GenImage": partial(read_levels, levels=(GENERATOR, r"imagenet_(ai_)?(\d{4}_)?\w+", "val", CLASS)),
    "Tiny-GenImage": partial(read_levels, levels=(r"imagenet_(ai_)?(\d{4}_)?(?P<generator>\w+)", "val", CLASS)),
    "HiRes-50K": partial(read_levels, levels=(r"(?P<generator>w[_>]\d{3,5})", CLASS)),
    # Each generator is compared with the photos in the folder MSCOCO.
    "DRCT-2M": partial(read_levels, levels=(GENERATOR, "val2017")),
    # Images are named after photos of RAISE, which are elsewhere, or in a folder `real` or `RAISE` beside these.
    "Synthbuster": partial(read_levels, levels=(GENERATOR,), file=r"r[0-9a-f]{7,}t?(\.\w+)?"),
    "Chameleon": partial(read_levels, levels=("test", CLASS), name="Chameleon"),
    "class folders": read_classes,
    # ForenSynths, AIGCDetectBenchmark, Community Forensics, WildRF.
    "generators": partial(read_levels, levels=(GENERATOR, DEPTH, CLASS)),
}
EXPECTED = f"folders named {', '.join(CLASSES)}, imagenet_*/val or val2017, or files named r*.png"
EDITED: dict[str, Callable[[Path], list[EditedImage]]] = {  # localisation
    "AutoSplice": read_autosplice,
    "CocoGlide": read_cocoglide,
    "BR-Gen": read_br_gen,
    "TGIF": read_tgif,
}

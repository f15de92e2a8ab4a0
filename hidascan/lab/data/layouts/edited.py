"""Readers of tables of edits and of localisation benchmarks: images, each with a mask of its edited area."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hidascan.errors import RecipeError
from hidascan.image.decode import decode
from hidascan.lab.data.layouts import files_below, folders_of, named


@dataclass(frozen=True)
class EditedImage:
    """An image of a localisation benchmark, or of a table of edits.

    Attributes:
        path: Path of the image.
        mask: Path of the mask of the edited area, white on black; None for an unedited image.
        group: Group that the papers average over: JPEG level, model or split; or the method of the edit.
        source: Collection of the image; "" if unknown.
        regenerated: Whether the whole image was regenerated, and the mask is only the requested area.
    """

    path: Path
    mask: Path | None
    group: str
    source: str = ""
    regenerated: bool = False


def read_mask(path: Path) -> np.ndarray:
    """Read a mask, (H, W) bool, true in the edited area."""
    return decode(path).pixels[..., 0] >= 128


def read_edits(table: Path) -> list[EditedImage]:
    """Read a TSV with the columns path and mask, relative to its folder, group, and optionally source.

    Raises:
        RecipeError: If the table is missing or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return [
            EditedImage(table.parent / row["path"], table.parent / row["mask"], row["group"], row.get("source") or "")
            for row in rows
        ]
    except OSError as error:
        raise RecipeError(f"{table}: {error.strerror}") from None
    except KeyError as error:
        raise RecipeError(f"{table}: column missing: {error.args[0]}") from None


def read_autosplice(folder: Path) -> list[EditedImage]:
    """Read `Authentic/`, `Forged_JPEG{100,90,75}/` and `Mask/`; the mask of `12_3.jpg` is `12_mask.png`."""
    authentic, masks = named(folder, "authentic"), named(folder, "mask")
    if authentic is None or masks is None:
        return []
    images = [EditedImage(path, None, "Authentic") for path in files_below(authentic)]
    by_name = {path.name.lower(): path for path in files_below(masks)}
    for place in folders_of(folder):
        if place.name.lower().startswith("forged"):
            for path in files_below(place):
                mask = by_name.get(f"{path.stem.split('_')[0].lower()}_mask.png")
                if mask is not None:
                    images.append(EditedImage(path, mask, place.name))
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
        untouched, tampered, truth = (named(split, name) for name in ("au", "tp", "gt"))
        if tampered is None or truth is None:
            continue
        masks = {path.stem: path for path in files_below(truth)}
        images += [EditedImage(p, masks[p.stem], split.name) for p in files_below(tampered) if p.stem in masks]
        if untouched is not None:
            images += [EditedImage(path, None, split.name) for path in files_below(untouched)]
    return images


def read_tgif(folder: Path) -> list[EditedImage]:
    """Read the split `testing` of `masks`, `original`, `<model>-sp` and `<model>-fr` of TGIF.

    Masks have the same names; `sp` images are spliced back into the photo, `fr` images are fully regenerated.
    """
    masks, originals = named(folder, "masks"), named(folder, "original")
    if masks is None or originals is None:
        return []
    truth = {path.stem: path for path in _testing(masks)}
    images = [EditedImage(path, None, "original") for path in _testing(originals)]
    for place in folders_of(folder):
        if place.name.lower().endswith(("-sp", "-fr")):
            regenerated = place.name.lower().endswith("-fr")
            for path in _testing(place):
                mask = truth.get(path.stem) or truth.get(path.stem.split("_")[0])
                if mask is not None:
                    images.append(EditedImage(path, mask, place.name, regenerated=regenerated))
    return images


def _testing(place: Path) -> list[Path]:
    split = named(place, "testing")
    return files_below(split) if split else []


EDITED: dict[str, Callable[[Path], list[EditedImage]]] = {
    "AutoSplice": read_autosplice,
    "CocoGlide": read_cocoglide,
    "BR-Gen": read_br_gen,
    "TGIF": read_tgif,
}


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

"""Readers of the published layouts of detection benchmarks; each returns None or no images if it does not match."""

from __future__ import annotations

import re
from pathlib import Path

from hidascan.lab.data.layouts.folders import (
    SHARED,
    all_folders,
    class_folders,
    files_below,
    folders_of,
    images_below,
    named,
)
from hidascan.lab.data.tables import LabelledImage

_IMAGENET = re.compile(r"imagenet_(ai_)?(\d{4}_)?(?P<generator>\w+)", re.IGNORECASE)
_BUCKET = re.compile(r"w[_>]\d{3,5}", re.IGNORECASE)
_RAISE = re.compile(r"r[0-9a-f]{7,}t?(\.\w+)?", re.IGNORECASE)  # names of the photos of RAISE, r000da54ft
_REAL_FOLDERS = ("mscoco", "coco", "real", "0_real", "raise", "raise-1k")


def read_classes(folder: Path) -> list[LabelledImage] | None:
    """Read `0_real/`, `1_fake/` and similar subfolders."""
    classes = class_folders(folder).items()
    return [
        LabelledImage(path, label, place.name, folder.name) for place, label in classes for path in files_below(place)
    ]


def _in_classes(folder: Path | None, generator: str) -> list[LabelledImage]:
    """Label the images in the class folders directly below a folder, if there is one."""
    classes = class_folders(folder) if folder else {}
    return [image for place, label in classes.items() for image in images_below(place, label, generator)]


def read_generators(folder: Path) -> list[LabelledImage] | None:
    """Read `<generator>/[<class>/]{0_real,1_fake}/`: ForenSynths, AIGCDetectBenchmark, Community Forensics, WildRF."""
    images = []
    for place in all_folders(folder):
        parts = place.relative_to(folder).parts
        images += _in_classes(place, parts[0] if parts else folder.name)
    return images


def read_genimage(folder: Path) -> list[LabelledImage] | None:
    """Read `<Generator>/imagenet_ai_*/val/{ai,nature}/` of GenImage, without its training set."""
    images = []
    for top in folders_of(folder):
        for place in folders_of(top):
            if _IMAGENET.fullmatch(place.name):
                images += _in_classes(named(place, "val"), top.name)
    return images


def read_tiny_genimage(folder: Path) -> list[LabelledImage] | None:
    """Read `imagenet_*/val/{ai,nature}/` of Tiny-GenImage, without its training set."""
    images = []
    for place in folders_of(folder):
        if match := _IMAGENET.fullmatch(place.name):
            images += _in_classes(named(place, "val"), match["generator"])
    return images


def read_hires(folder: Path) -> list[LabelledImage] | None:
    """Read `W_0900` to `W>5000`, each `{0_real,1_fake}/`, of HiRes-50K."""
    images = []
    for place in folders_of(folder):
        if _BUCKET.fullmatch(place.name):
            images += _in_classes(place, place.name)
    return images


def read_chameleon(folder: Path) -> list[LabelledImage] | None:
    """Read `test/{0_real,1_fake}/` of Chameleon."""
    test = named(folder, "test")
    if test is None or any(_split_of_drct(place) for place in folders_of(folder)):
        return None
    return _in_classes(test, "Chameleon")


def read_drct(folder: Path) -> list[LabelledImage] | None:
    """Read `<generator>/val2017/` of DRCT-2M; each generator is compared with the photos in the folder MSCOCO."""
    images = []
    for place in folders_of(folder):
        split = _split_of_drct(place)
        if split is not None:
            real = place.name.lower() in _REAL_FOLDERS
            images += images_below(split, int(not real), place.name, SHARED if real else None)
    return images


def _split_of_drct(place: Path) -> Path | None:
    return named(place, "val2017") if named(place, "train2017", "val2017") else None


def read_synthbuster(folder: Path) -> list[LabelledImage] | None:
    """Read `<generator>/r*.png` of Synthbuster; photos are elsewhere, or in a folder `real` or `RAISE` beside these."""
    images = []
    for place in folders_of(folder):
        files = [path for path in files_below(place) if _RAISE.fullmatch(path.name)]
        if files:
            real = place.name.lower() in _REAL_FOLDERS
            group, source = (f"{place.name} (real)", SHARED) if real else (place.name, place.name)
            images += [LabelledImage(path, int(not real), group, source) for path in files]
    return images


def read_real(folder: Path) -> list[LabelledImage]:
    """Read a folder of photos to compare every generator of a benchmark with."""
    return [LabelledImage(path, 0, f"{folder.name} (real)", SHARED) for path in files_below(folder)]

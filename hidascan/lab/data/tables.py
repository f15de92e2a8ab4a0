"""Tables of images: labels, groups, sources, families, domains, and masks of edits; and the choice of some of them."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hidascan.errors import RecipeError, reason_of
from hidascan.image.decode import decode

FOLDS = 6
TRIES = 1000  # images drawn in a row before a sampling gives up
# Groups of the tables by family: generators of one architecture or maker, which new detectors tend to miss together.
GROUPS_BY_FAMILY: dict[str, tuple[str, ...]] = {
    "gan": ("progan", "stylegan2_faces"),
    "openai": ("dalle3", "gpt_image_1_4o"),
    "midjourney": ("midjourney_v2v3", "midjourney_v5", "midjourney_v6"),
    "sd": ("sd14", "sd15", "sd15_family", "sd15_finetune", "sd1_beta", "sd21_family", "sd_turbo"),
    "sdxl": (
        "lcm_sdxl", "sd35_large", "sd35_medium", "sd3_medium", "sdxl", "sdxl_edit", "sdxl_turbo", "stable_cascade",
    ),
    "flux": (
        "chroma", "flux1_dev", "flux1_dev_control", "flux1_fill_inpaint", "flux1_kontext_edit", "flux1_schnell", "flux2_dev",
    ),
    "google": ("imagen4", "nano_banana"),
    "early": (
        "dalle_mini", "disco_diffusion", "glid3_xl", "latent_diffusion", "majesty_diffusion", "simulacra",
    ),
    "other_open": (
        "auraflow", "cosmos_predict2", "hidream_i1", "hunyuan_dit", "kandinsky_2", "kolors", "lumina2", "omnigen2",
        "pixart_alpha", "qwen_image_edit",
    ),
}  # fmt: skip
_FAMILY_OF = {group: family for family, groups in GROUPS_BY_FAMILY.items() for group in groups}
Item = TypeVar("Item")
_DOMAIN_OF = {"hn_digital_art": "artwork", "hn_scans": "document", "hn_screens": "screenshot"}


@dataclass(frozen=True)
class LabelledImage:
    """One row of a label table."""

    path: Path
    label: int  # 1 for AI, 0 for real
    group: str  # generator, or kind of real image
    source: str  # collection of the image; images of one source share more than their label
    domain: str = ""  # kind of picture: photo, artwork, render, screenshot, document; "" if unclear
    family: str = ""  # family of the generator; "" for real images, and if unknown


@dataclass(frozen=True)
class EditedImage:
    """An image of a localisation benchmark, or of a table of edits."""

    path: Path
    mask: Path | None  # path of the mask of the edited area, white on black; None for an unedited image
    group: str  # group that the papers average over: JPEG level, model or split; or the method of the edit
    source: str = ""  # collection of the image; "" if unknown
    regenerated: bool = False  # whether the whole image was regenerated, and the mask is only the requested area


def read_table(table: str | Path) -> list[LabelledImage]:
    """Read a TSV with the columns path (relative to the table's folder), label, group, source, perhaps domain, family.

    Raises:
        RecipeError: If the table is missing, lacks a column, or holds a label other than 0 and 1.
    """
    rows = _read_rows(Path(table), {"path", "label", "group", "source"})
    if not rows:
        raise RecipeError(f"{table}: the table is empty")
    if any(row["label"] not in ("0", "1") for row in rows):
        raise RecipeError(f"{table}: labels must be 0 (real) or 1 (AI)")
    return [_image(Path(table).parent, row) for row in rows]


def read_edits(table: Path) -> list[EditedImage]:
    """Read a TSV with the columns path and mask, relative to its folder, group, and optionally source.

    Raises:
        RecipeError: If the table is missing or lacks a column.
    """
    rows, folder = _read_rows(table, {"path", "mask", "group"}), table.parent
    return [
        EditedImage(folder / row["path"], folder / row["mask"], row["group"], row.get("source") or "") for row in rows
    ]


def read_mask(path: Path) -> np.ndarray:
    """Read a mask, (H, W) bool, true in the edited area."""
    return decode(path).pixels[..., 0] >= 128


def _read_rows(table: Path, columns: set[str]) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise RecipeError(f"{table}: {reason_of(error)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{table}: not a table in UTF-8 ({error})") from None
    if rows and (missing := columns - rows[0].keys()):
        raise RecipeError(f"{table}: column missing: {', '.join(sorted(missing))}")
    if any(row[name] is None for row in rows for name in columns):
        raise RecipeError(f"{table}: a row has too few columns")
    return rows


def _image(base: Path, row: dict[str, str]) -> LabelledImage:
    """Read a row.

    Without columns for them, a known group gives the family of an AI image, and a real image is a photo unless its group is
    known otherwise.
    """
    label, group = int(row["label"]), row["group"]
    domain, family = ("", _FAMILY_OF.get(group, "")) if label else (_DOMAIN_OF.get(group, "photo"), "")
    known = (row.get("domain"), domain), (row.get("family"), family)
    kinds = (default if given is None else given for given, default in known)
    return LabelledImage(base / row["path"], label, group, row["source"], *kinds)


def spread(images: list[Item], count: int) -> list[Item]:
    """Take `count` images at even steps over the list; all if there are fewer."""
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
    return hashlib.sha256(os.fsencode(text)).digest()


def tables_sha256(tables: Iterable[str | Path]) -> str:
    """Return a SHA-256 of the bytes of all tables; of a folder, of the paths of its files.

    It records the training data of a checkpoint.
    """
    digest = hashlib.sha256()
    for table in tables:
        path = Path(table)
        for file in (path,) if path.is_file() else sorted(path.rglob("*")):
            digest.update(file.read_bytes() if path.is_file() else os.fsencode(file.relative_to(path)))
    return digest.hexdigest()


def fold_of(source: str) -> int:
    """Return the fold, 0..5, of a source, by a hash of its name, so that no source is in two folds."""
    return int.from_bytes(_digest(source)[:4], "big") % FOLDS


def no_image(side: int) -> RecipeError:
    """Return the error of TRIES draws without an image with sides of at least `side` pixels."""
    return RecipeError(f"{TRIES} images in a row are unreadable or smaller than {side} px: check the tables")


class BalancedSampler:
    """Draws images of one class, each (group, source) of n images with weight n ** power, to limit big sources."""

    def __init__(self, images: list[LabelledImage], label: int, power: float):
        """Group the images of a class; RecipeError if there are none."""
        by_group = defaultdict(list)
        for image in images:
            if image.label == label:
                by_group[image.group, image.source].append(image)
        if not by_group:
            raise RecipeError(f"the tables contain no image with label {label}")
        self.label = label
        self._groups = [by_group[key] for key in sorted(by_group)]
        weights = np.array([len(group) for group in self._groups], dtype=float) ** power
        self._weights = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> LabelledImage:
        """Draw one image."""
        group = self._groups[rng.choice(len(self._groups), p=self._weights)]
        return group[rng.integers(len(group))]

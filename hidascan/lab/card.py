"""The figures of a model card, measured and written between its marks, so that none is typed by hand.

A card is Markdown with pairs of lines `<!-- hidalab card: NAME -->` and `<!-- end -->`; what stands between them is
replaced by the figures of section NAME.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from hidascan.errors import RecipeError
from hidascan.lab import evaluate, lofo, robustness
from hidascan.lab.autoencoder import load_autoencoder
from hidascan.lab.clean import clean_images
from hidascan.lab.data import read_table, spread
from hidascan.lab.localise import measure_localisation
from hidascan.lab.quality import QUALITIES, quality_errors
from hidascan.lab.recipe import Recipe
from hidascan.lab.speed import compare_precisions, measure_speed
from hidascan.lab.zoo import member_path
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner

_MARKS = re.compile(r"(<!-- hidalab card: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NO_PHOTOS = ("hn_digital_art", "hn_astro", "hn_heavy_edit", "web_testfixtures")


@dataclass(frozen=True)
class CardSpec:
    """What a card is measured with. table: images of sources that training never saw. known: tables of training, for
    more images of the families of generators. images: how many of `table` for the slower sections."""

    table: Path
    recipe: Recipe
    cache: Path
    known: tuple[Path, ...] = ()
    images: dict[str, int] = field(default_factory=lambda: {"quality": 20, "where": 40, "robustness": 64, "speed": 27})


def fill_card(card: Path, options: ScanOptions, spec: CardSpec, only: tuple[str, ...] = ()) -> None:
    """Measure the sections that `card` has marks for (`only` these, if any) and write them into it, one by one.

    Raises RecipeError for a section that is not known or has no marks.
    """
    marked = [name for _, name, _ in _MARKS.findall(card.read_text(encoding="utf-8"))]
    unknown = {*marked, *only} - SECTIONS.keys() | {*only} - {*marked}
    if unknown:
        raise RecipeError(f"{card}: no such section: {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    scanner = Scanner(options)
    for name in only or marked:
        text = SECTIONS[name](scanner, spec)
        _replace(card, name, text)


def _replace(card: Path, section: str, text: str) -> None:
    def filled(found: re.Match) -> str:
        return f"{found[1]}{text}\n{found[3]}" if found[2] == section else found[0]

    card.write_text(_MARKS.sub(filled, card.read_text(encoding="utf-8")), encoding="utf-8")


def _detection(scanner: Scanner, spec: CardSpec) -> str:
    images = read_table(spec.table)
    with tqdm(total=len(images), desc="detection", disable=None) as bar:
        found = evaluate.evaluate(scanner, images, lambda finding: bar.update())
    names = {
        "auc": "AUC",
        "balanced_accuracy_at_half": "balanced accuracy at 0.5",
        "tpr_at_1pct_fpr": "TPR at 1 % FPR",
        "tpr_at_5pct_fpr": "TPR at 5 % FPR",
        "verdict_ai_on_ai": "`ai` on AI",
        "verdict_ai_on_real": "`ai` on real",
        "inconclusive": "inconclusive",
    }
    summary = _table([list(names.values()), [f"{found.figures[name]:.3f}" for name in names]])
    calibration = scanner.header.training.get("calibration", {})
    crossed = ", ".join(f"{name.removeprefix('cross_fitted_').replace('_', ' ')} {value:.3f}" for name, value in calibration.items() if name.startswith("cross"))  # fmt: skip
    return (
        f"{found.figures['n']} images, {found.figures['missing']} of them unreadable.\n\n{summary}\n\n"
        f"Cross-fitted (each source judged by a calibration fitted on the others): {crossed}.\n\n"
        f"{evaluate.as_markdown(found)}"
    )


def _families(scanner: Scanner, spec: CardSpec) -> str:
    device = str(scanner.device)
    clean = [clean_images(spec.recipe, table, spec.cache, device, scanner.dtype) for table in (spec.table, *spec.known)]
    return lofo.as_markdown(
        lofo.leave_one_family_out(spec.recipe, spec.cache, [image for table in clean for image in table], clean[0])
    )


def _robustness(scanner: Scanner, spec: CardSpec) -> str:
    images = spread(read_table(spec.table), spec.images["robustness"])
    with tqdm(total=len(images), desc="robustness", disable=None) as bar:
        found = robustness.measure_robustness(scanner, images, bar.update)
    return f"{found.images} images.\n\n{robustness.as_markdown(found)}"


def _quality(scanner: Scanner, spec: CardSpec) -> str:
    images = spread(read_table(spec.table), spec.images["quality"])
    rows = [["mean absolute error at JPEG quality", *map(str, QUALITIES), "mean"]]
    for name, resized in (("as saved", None), ("shrunk to 0.75 after that", 0.75)):
        with tqdm(total=len(images), desc=f"quality {name}", disable=None) as bar:
            errors = quality_errors(scanner, images, resized, bar.update).values()
        rows.append([name, *(f"{error:.1f}" for error in errors), f"{sum(errors) / len(errors):.2f}"])
    return f"{len(images)} images, shrunk by 2 and then saved as JPEG.\n\n{_table(rows)}"


def _where(scanner: Scanner, spec: CardSpec) -> str:
    photos = [i for i in read_table(spec.table) if not i.label and i.group not in _NO_PHOTOS]
    photos, share = spread(photos, spec.images["where"]), (0.05, 0.4)
    makers = {"taef2": spec.recipe.data.autoencoder}
    makers |= {f"{m.name} (held out)": member_path(spec.cache / "zoo", m) for m in spec.recipe.zoo if m.held_out}
    rows = [["autoencoder", "JPEG", "token AUC, mean of images", "pooled", "IoU", "false area on untouched photos"]]
    for name, path in makers.items():
        with tqdm(total=len(photos), desc=f"where {name}", disable=None) as bar:
            found = measure_localisation(
                scanner.network.head.localiser.cpu(),
                scanner.header.calibration.localisation,
                photos,
                load_autoencoder(path),
                share,
                (95, 90, 85, 75),
                on_image=bar.update,
            )
        rows += [
            [name, str(f.jpeg), f"{f.mean_auc:.3f}", f"{f.pooled_auc:.3f}", f"{f.iou:.2f}", f"{f.false_area:.3f}"]
            for f in found
        ]
    left_out = ", ".join(_NO_PHOTOS)
    return f"{len(photos)} photos (without {left_out}), {share[0]:.0%} to {share[1]:.0%} of the area repainted.\n\n{_table(rows)}"


def _speed(scanner: Scanner, spec: CardSpec) -> str:
    paths = [str(image.path) for image in spread(read_table(spec.table), spec.images["speed"])]
    with tqdm(total=3 * len(paths), desc="speed", disable=None) as bar:
        found = measure_speed(scanner, paths, 2, bar.update)
        other = compare_precisions(scanner, paths, "fp32", bar.update)
    head = ["views", "views a second, files to findings", "the bare network alone", "ratio", "peak memory"]
    speeds = (found.scan_views_per_second, found.limit_views_per_second, found.ratio)
    row = [str(found.views), *map(str, speeds), f"{found.peak_memory_mb / 1000:.2f} GB"]
    return (
        f"{len(paths)} images on {found.device} in {found.dtype}, {found.batch_size} views a batch.\n\n"
        f"{_table([head, row])}\n\n"
        f"Scores in {found.dtype} against fp32 on the same images: mean difference {other.mean:.4f}, largest "
        f"{other.largest:.4f}; verdicts that differ: {other.verdicts}."
    )


SECTIONS: dict[str, Callable[[Scanner, CardSpec], str]] = {
    "detection": _detection,
    "families": _families,
    "robustness": _robustness,
    "quality": _quality,
    "where": _where,
    "speed": _speed,
}


def _table(rows: list[list[str]]) -> str:
    """Markdown; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])

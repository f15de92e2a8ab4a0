"""Write measured figures into model cards.

A card is Markdown with pairs of lines `<!-- hidalab card: NAME -->` and `<!-- end -->`; the text between them is
replaced by the figures of section NAME.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidascan.errors import RecipeError, UsageError
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import LabelledImage, spread
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.robustness import QUALITIES, quality_errors
from hidascan.lab.measure.speed import compare_precisions, measure_speed
from hidascan.options import ScanOptions
from hidascan.report.terminal import Terminal
from hidascan.scanner import Scanner

_MARKS = re.compile(r"(<!-- hidalab card: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_IMAGES = {"quality": 20, "robustness": 64, "speed": 27, "perturbed": 300}  # numbers for the slower sections
_EXAMPLE = "examples/pasted/rocket.jpg"  # from the root of the repository


@dataclass(frozen=True)
class CardSpec:
    """Inputs of a card's measurements."""

    table: str | Path  # held-out sources; "" for sections that measure no images
    recipe: Any
    cache: Path  # cache folder with the features of training
    images: dict[str, int] = field(default_factory=_IMAGES.copy)  # number of images of `table`, by section
    measured: dict[str, Any] = field(default_factory=dict)  # results shared by sections

    def every(self) -> list[LabelledImage]:
        """Return all images of the table.

        Raises:
            UsageError: If no table was given.
        """
        if not self.table:
            raise UsageError("pass --table: the recipe names no calibration table")
        return read_images(self.table)

    def some(self, section: str) -> list[LabelledImage]:
        """Return the images of the table for a slower section, evenly spread."""
        return spread(self.every(), self.images[section])


Section = Callable[[Scanner, CardSpec], str]
Sections = dict[str, Section]


def fill_cards(
    cards: list[Path], options: ScanOptions, spec: CardSpec, only: tuple[str, ...] = (), more: Sections | None = None
) -> None:
    """Measure the sections with marks in cards, or `only` some, each once, and write them one by one.

    `more` are additional sections of the detector.

    Raises:
        RecipeError: For a section that is unknown or has no marks.
    """
    sections = SECTIONS | (more or {})
    marked = {card: [name for _, name, _ in _MARKS.findall(card.read_text(encoding="utf-8"))] for card in cards}
    names = list(dict.fromkeys(name for of_card in marked.values() for name in of_card))
    unknown = {*names, *only} - sections.keys() | {*only} - {*names}
    if unknown:
        where = ", ".join(map(str, cards))
        raise RecipeError(f"{where}: unknown section: {', '.join(sorted(unknown))}; choose from {', '.join(sections)}")
    scanner = Scanner(options)
    for name in only or names:
        text = sections[name](scanner, spec)
        for card in (card for card, of_card in marked.items() if name in of_card):
            _replace(card, name, text)


def _replace(card: Path, section: str, text: str) -> None:
    def filled(match: re.Match[str]) -> str:
        return f"{match[1]}{text}\n{match[3]}" if match[2] == section else match[0]

    card.write_text(_MARKS.sub(filled, card.read_text(encoding="utf-8")), encoding="utf-8")


def _evaluated(scanner: Scanner, spec: CardSpec) -> detection.Evaluation:
    """Scan the table once for all sections."""
    if "detection" not in spec.measured:
        spec.measured["detection"] = detection.evaluate(scanner, spec.every())
    return spec.measured["detection"]


def _detection(scanner: Scanner, spec: CardSpec) -> str:
    evaluation = _evaluated(scanner, spec)
    name = "/".join(Path(spec.table).parts[-2:])
    return f"`{name}`: {detection.figures_as_markdown(evaluation)}\n\n{detection.as_markdown(evaluation)}"


def _summary(scanner: Scanner, spec: CardSpec) -> str:
    """Return four figures for a README, with intervals."""
    evaluation = _evaluated(scanner, spec)
    speed = measure_speed(scanner, [str(image.path) for image in spec.some("speed")], 1)
    figures, intervals = evaluation.figures, evaluation.intervals
    names = ("auc", "verdict_ai_on_real", "verdict_ai_on_ai")
    cells = [f"{figures[name]:.3f}" for name in names]
    if intervals:  # none for a table of one class
        cells = [
            "{} ({:.3f} to {:.3f})".format(cell, *intervals[name]) for cell, name in zip(cells, names, strict=True)
        ]
    per_second = f"{speed.scan_views_per_second:.1f} patches and thumbnails per second"
    cells.append(f"{per_second} on {scanner.device} in {_dtype(scanner)}")
    return markdown.table(["AUC", "real images called `ai`", "AI images called `ai`", "speed"], [cells])


def _robustness(scanner: Scanner, spec: CardSpec) -> str:
    measured = robustness.measure_robustness(scanner, spec.some("robustness"))
    return f"{measured.images} images.\n\n{robustness.as_markdown(measured)}"


def _quality(scanner: Scanner, spec: CardSpec) -> str:
    images, rows = spec.some("quality"), []
    for name, resized in (("as saved", None), ("then shrunk to 0.75", 0.75)):
        errors, count = quality_errors(scanner, images, resized)
        mean = sum(errors.values()) / len(errors)
        rows.append([name, str(count), *(f"{error:.1f}" for error in errors.values()), f"{mean:.2f}"])
    table = markdown.table(["mean absolute error at JPEG quality", "images", *map(str, QUALITIES), "mean"], rows)
    what = "shrunk by 2 and then saved as JPEG; those count for which the quality is always estimated, such as photos"
    return f"{len(images)} images, {what}.\n\n{table}"


def _speed(scanner: Scanner, spec: CardSpec) -> str:
    paths = [str(image.path) for image in spec.some("speed")]
    speed = measure_speed(scanner, paths, 2)
    mean, largest, verdicts = compare_precisions(scanner, paths)
    head = ["views", "views per second, files to findings", "network alone", "ratio", "peak memory"]
    speeds = (speed.scan_views_per_second, speed.limit_views_per_second, speed.ratio)
    row = [speed.views, *map(str, speeds), f"{speed.peak_memory_mb / 1000:.2f} GB"]
    return (
        f"{len(paths)} images on {scanner.device} in {_dtype(scanner)}, {scanner.batch_size} views per batch.\n\n"
        f"{markdown.table(head, [row])}\n\n"
        f"Scores in {_dtype(scanner)} against fp32 on the same images: mean difference {mean:.4f}, largest "
        f"{largest:.4f}; verdicts that differ: {verdicts}."
    )


def _dtype(scanner: Scanner) -> str:
    return str(scanner.dtype).removeprefix("torch.")


def _panel(scanner: Scanner, spec: CardSpec) -> str:
    """Return the terminal panel of an example."""
    out = io.StringIO()
    with redirect_stdout(out):
        terminal = Terminal(scanner.info)
        for finding in scanner.scan([_EXAMPLE]):
            terminal.add(finding)
        terminal.close()
    return f"```\n$ hidascan {_EXAMPLE}\n{out.getvalue()}```"


SECTIONS: Sections = {
    "panel": _panel,
    "summary": _summary,
    "detection": _detection,
    "robustness": _robustness,
    "quality": _quality,
    "speed": _speed,
}

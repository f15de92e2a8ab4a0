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

from tqdm import tqdm

from hidascan.errors import RecipeError
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import spread
from hidascan.lab.measure import detection, markdown, robustness
from hidascan.lab.measure.robustness import QUALITIES, quality_errors
from hidascan.lab.measure.speed import compare_precisions, measure_speed
from hidascan.options import ScanOptions
from hidascan.report.terminal import Terminal
from hidascan.scanner import Scanner

_MARKS = re.compile(r"(<!-- hidalab card: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EXAMPLE = "examples/pasted/rocket.jpg"  # from the root of the repository


@dataclass(frozen=True)
class CardSpec:
    """Inputs of a card's measurements.

    Attributes:
        table: Path of a table of held-out sources.
        recipe: Recipe of the weights.
        cache: Cache folder with the features of training.
        images: Number of images of `table`, for each slower section.
        measured: Results shared by sections.
    """

    table: str | Path
    recipe: Any
    cache: Path
    images: dict[str, int] = field(
        default_factory=lambda: {"quality": 20, "where": 20, "robustness": 64, "speed": 27, "perturbed": 300}
    )
    measured: dict[str, Any] = field(default_factory=dict)


Section = Callable[[Scanner, CardSpec], str]


def fill_cards(
    cards: list[Path],
    options: ScanOptions,
    spec: CardSpec,
    only: tuple[str, ...] = (),
    more: dict[str, Section] | None = None,
) -> None:
    """Measure the sections with marks in cards, each once, and write them one by one.

    Args:
        cards: Markdown files.
        options: Scan options.
        spec: Inputs of the measurements.
        only: Sections to measure; empty for all with marks.
        more: Additional sections of the detector.

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
        images = read_images(spec.table)
        with tqdm(total=len(images), desc="detection", disable=None) as bar:
            spec.measured["detection"] = detection.evaluate(scanner, images, lambda finding: bar.update())
    return spec.measured["detection"]


def _detection(scanner: Scanner, spec: CardSpec) -> str:
    evaluation = _evaluated(scanner, spec)
    name = "/".join(Path(spec.table).parts[-2:])
    return f"`{name}`: {detection.figures_as_markdown(evaluation)}\n\n{detection.as_markdown(evaluation)}"


def _summary(scanner: Scanner, spec: CardSpec) -> str:
    """Return four figures for a README, with intervals."""
    evaluation = _evaluated(scanner, spec)
    paths = [str(image.path) for image in spread(read_images(spec.table), spec.images["speed"])]
    speed = measure_speed(scanner, paths, 1)
    figures, intervals = evaluation.figures, evaluation.intervals
    cells = []
    for name in ("auc", "verdict_ai_on_real", "verdict_ai_on_ai"):
        low, high = intervals[name]
        cells.append(f"{figures[name]:.3f} ({low:.3f} to {high:.3f})")
    cells.append(
        f"{speed.scan_views_per_second:.1f} patches and thumbnails per second on {speed.device} in {speed.dtype}"
    )
    return markdown.table(["AUC", "real images called `ai`", "AI images called `ai`", "speed"], [cells])


def _robustness(scanner: Scanner, spec: CardSpec) -> str:
    images = spread(read_images(spec.table), spec.images["robustness"])
    with tqdm(total=len(images), desc="robustness", disable=None) as bar:
        measured = robustness.measure_robustness(scanner, images, bar.update)
    return f"{measured.images} images.\n\n{robustness.as_markdown(measured)}"


def _quality(scanner: Scanner, spec: CardSpec) -> str:
    images = spread(read_images(spec.table), spec.images["quality"])
    rows = []
    for name, resized in (("as saved", None), ("then shrunk to 0.75", 0.75)):
        with tqdm(total=len(images), desc=f"quality {name}", disable=None) as bar:
            errors = quality_errors(scanner, images, resized, bar.update).values()
        rows.append([name, *(f"{error:.1f}" for error in errors), f"{sum(errors) / len(errors):.2f}"])
    table = markdown.table(["mean absolute error at JPEG quality", *map(str, QUALITIES), "mean"], rows)
    return f"{len(images)} images, shrunk by 2 and then saved as JPEG.\n\n{table}"


def _speed(scanner: Scanner, spec: CardSpec) -> str:
    paths = [str(image.path) for image in spread(read_images(spec.table), spec.images["speed"])]
    with tqdm(total=3 * len(paths), desc="speed", disable=None) as bar:
        speed = measure_speed(scanner, paths, 2, bar.update)
        other = compare_precisions(scanner, paths, "fp32", bar.update)
    head = ["views", "views per second, files to findings", "network alone", "ratio", "peak memory"]
    speeds = (speed.scan_views_per_second, speed.limit_views_per_second, speed.ratio)
    row = [str(speed.views), *map(str, speeds), f"{speed.peak_memory_mb / 1000:.2f} GB"]
    return (
        f"{len(paths)} images on {speed.device} in {speed.dtype}, {speed.batch_size} views per batch.\n\n"
        f"{markdown.table(head, [row])}\n\n"
        f"Scores in {speed.dtype} against fp32 on the same images: mean difference {other.mean:.4f}, largest "
        f"{other.largest:.4f}; verdicts that differ: {other.verdicts}."
    )


def _panel(scanner: Scanner, spec: CardSpec) -> str:
    """Return the terminal panel of an example."""
    out = io.StringIO()
    with redirect_stdout(out):
        terminal = Terminal(scanner.run)
        for finding in scanner.scan([_EXAMPLE]):
            terminal.add(finding)
        terminal.close()
    return f"```\n$ hidascan {_EXAMPLE}\n{out.getvalue()}```"


SECTIONS: dict[str, Section] = {
    "panel": _panel,
    "summary": _summary,
    "detection": _detection,
    "robustness": _robustness,
    "quality": _quality,
    "speed": _speed,
}

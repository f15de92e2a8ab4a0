"""Findings on stdout: text lines in a format, or on a terminal a panel for one image, a table and a summary for several."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hidascan.errors import UsageError
from hidascan.finding import Finding, RunInfo
from hidascan.image.provenance.claim import claim_strength
from hidascan.notes import SCORE_ALONE
from hidascan.phrases import (
    claim_in_words,
    claims_by_statement,
    extent_in_words,
    influences_in_words,
    jpeg_history,
    kind_in_words,
    regions_in_words,
    scale_in_words,
    score_in_words,
)
from hidascan.printable import one_line, printable
from hidascan.report.heatmap import HeatmapReport
from hidascan.report.reporter import Report
from hidascan.summary import Card, summary

PLACEHOLDERS: dict[str, tuple[str, Callable[[Finding], object]]] = {
    "p": ("path", lambda f: f.path),
    "v": ("verdict, or error", lambda f: f.verdict or "error"),
    "s": ("score, 0 to 1", lambda f: None if f.score is None else f"{f.score:.4f}"),
    "u": ("uncertainty of the score", lambda f: None if f.uncertainty is None else f"{f.uncertainty:.4f}"),
    "w": ("width", lambda f: f.width),
    "h": ("height", lambda f: f.height),
    "f": ("format", lambda f: f.format),
    "n": ("patches", lambda f: f.patches),
    "q": ("JPEG quality from the header", lambda f: f.jpeg_quality),
    "Q": (
        "JPEG quality estimated from the pixels",
        lambda f: None if f.jpeg_quality_estimated is None else f"{f.jpeg_quality_estimated:.0f}",
    ),
    "a": ("share of the image that looks AI-made", lambda f: None if f.ai_area is None else f"{f.ai_area:.4f}"),
    "c": ("claim of origin in the file", lambda f: f.provenance),
    "d": ("kind of picture: photo, artwork ...", lambda f: f.domain),
    "g": ("most similar family of generators", lambda f: f.family),
    "e": ("reason why the file could not be read", lambda f: f.error),
}
PLAIN = r"%p\t%v\t%s"  # path, verdict, score; an unreadable file has the verdict "error" and no score
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
_PART = re.compile(r"%(.?)|\\[nt0\\]", re.DOTALL)
_STYLES = {"ai": "bold red", "real": "green", "inconclusive": "yellow", "error": "magenta"}
_PANEL, _BAR = 88, 24  # maximum width, columns
_REGIONS, _INFLUENCES = 5, 3  # listed


class FormattedLines(Report):
    r"""Lines in a format such as `%v %s %p`, ended by a line feed unless the format ends with \n, \t or \0.

    Tabs, line feeds and other control characters in values are escaped, except in the path if the format ends with \0,
    for `xargs -0`.
    """

    def __init__(self, form: str = PLAIN):
        """Check the format.

        Raises:
            UsageError: For an unknown placeholder.
        """
        for match in _PART.finditer(form):
            if match[1] is not None and match[1] not in (*PLACEHOLDERS, "%"):
                known = ", ".join(f"%{letter} {meaning}" for letter, (meaning, _) in PLACEHOLDERS.items())
                raise UsageError(f"--format: unknown placeholder {match[0]!r}; choose from {known}")
        self._raw = form.endswith(r"\0") and not sys.stdout.isatty()
        self._form = form if form.endswith((r"\n", r"\t", r"\0", "\n")) else form + "\n"

    def add(self, finding: Finding) -> None:
        """Write a line; unknown values are empty."""

        def filled(match: re.Match[str]) -> str:
            if match[0] in _ESCAPES:
                return _ESCAPES[match[0]]
            if match[1] == "p":
                return finding.path.replace("\0", r"\x00") if self._raw else _path(finding)
            value = "%" if match[1] == "%" else PLACEHOLDERS[match[1]][1](finding)
            return "" if value is None else printable(str(value))

        sys.stdout.write(_PART.sub(filled, self._form))
        sys.stdout.flush()


def _path(finding: Finding) -> str:
    """Return the path as one line for a pipe, or printable for a terminal."""
    return printable(finding.path) if sys.stdout.isatty() else one_line(finding.path)


class Terminal:
    """Terminal report: rows in columns of fixed width, printed at once; the first waits, as it may be the only one."""

    def __init__(self, run: RunInfo, verbose: bool = False, heatmaps: tuple[HeatmapReport, ...] = ()):
        """Set up; `verbose` prints a panel for every image, and the files of `heatmaps` are named at the end."""
        self._console = Console(file=sys.stdout, highlight=False)
        self._run, self._verbose, self._heatmaps = run, verbose, heatmaps
        self._counts: Counter[str] = Counter()
        self._failed: list[Finding] = []
        self._first: Finding | None = None
        self._started = time.monotonic()

    def add(self, finding: Finding) -> None:
        """Print a row or a panel."""
        if self._verbose:
            self._console.print(_panel(finding, self._run, self._console))
        elif not self._counts:
            self._first = finding
        else:
            if self._first:
                self._console.print(Text(f"{'verdict':12} {'score':>6} {'jpeg':>5} {'AI area':>8}  path", style="bold"))
                self._print_row(self._first)
                self._first = None
            self._print_row(finding)
        self._counts[finding.verdict or "error"] += 1
        if finding.error and not self._verbose:
            self._failed.append(finding)

    def close(self) -> None:
        """Print the panel of a single image, the counts, the unreadable files, and the names of other reports."""
        if self._first:
            self._console.print(_panel(self._first, self._run, self._console))
        total, seconds = self._counts.total(), time.monotonic() - self._started
        if total > 1:
            counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self._counts.items()))
            self._console.print(f"{total} files in {seconds:.1f} s: {counts}")
            for finding in self._failed:
                line = f"error: {finding.path}: {finding.error}"
                self._console.print(Text(printable(line), style=_STYLES["error"]), soft_wrap=True)
        for line in filter(None, (report.written() for report in self._heatmaps)):
            self._console.print(Text(printable(line)), soft_wrap=True)

    def _print_row(self, finding: Finding) -> None:
        self._console.print(_row(finding), soft_wrap=True)
        for line in influences_in_words(finding)[:_INFLUENCES]:
            self._console.print(Text(f"{'':20} {line}", style="dim"), soft_wrap=True)


def _row(finding: Finding) -> Text:
    verdict = finding.verdict or "error"
    line = Text(f"{verdict:12} ", style=_STYLES[verdict])
    if finding.status == "ok":
        area = "" if finding.ai_area is None else f"{100 * finding.ai_area:.1f} %"
        line.append(f"{finding.score:6.3f} {_quality(finding):>5} {area:>8}  ", style="default")
    else:
        line.append(" " * 23)
    line.append(printable(finding.path), style="default")
    for note in (*finding.notes, *filter(None, [finding.provenance])):
        line.append(f"  [{printable(note)}]", style="dim")
    return line


def _quality(finding: Finding) -> str:
    """Return the quality from the tables, or that from the pixels with a ~."""
    if finding.jpeg_quality is not None:
        return str(finding.jpeg_quality)
    return "" if finding.jpeg_quality_estimated is None else f"~{finding.jpeg_quality_estimated:.0f}"


def _panel(finding: Finding, run: RunInfo, console: Console) -> Panel:
    """Return a panel with the verdict card and all results of one image."""
    card = summary(finding, run)
    width = min(console.width, _PANEL)
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    headline = Text(card.headline, style=_STYLES[card.verdict])
    rows.add_row("result", headline.append("" if finding.verdict is None else f" ({finding.verdict})", style="default"))
    for name, text in _facts(finding, card, run, "#." if console.options.ascii_only else "█░"):
        rows.add_row(name, Text(printable(text)))
    title = Text(_shortened(printable(finding.path), width - 6, console), overflow="ellipsis", no_wrap=True)
    return Panel(rows, title=title, title_align="left", border_style=_STYLES[card.verdict], width=width)


def _shortened(path: str, columns: int, console: Console) -> str:
    """Shorten a path in the middle, so that folder and name can be recognised."""
    if len(path) <= columns or columns < 8:
        return path
    dots = "..." if console.options.ascii_only else "…"
    tail = 2 * (columns - len(dots)) // 3
    return path[: columns - len(dots) - tail] + dots + path[-tail:]


def _facts(finding: Finding, card: Card, run: RunInfo, blocks: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a panel, each with its name: first the card, then the file."""
    if finding.score is not None:
        bounds = f"no sign below {run.real_below:.3f}, AI from {run.ai_from:.3f}"
        if run.options.threshold is not None:
            bounds = scale_in_words(run)
        yield "score", f"{_bar(finding.score, blocks)} {score_in_words(finding)} ({bounds})"
    yield "summary", card.sentence
    for name, text in (("", card.why), ("errors", card.reliability), ("caution", "; ".join(card.weaknesses))):
        if text:
            yield name, text
    yield from _named("areas", _areas(finding))
    yield from _named("influence", influences_in_words(finding)[:_INFLUENCES])
    yield "next", "; ".join(card.next_steps)
    if finding.status == "ok":
        yield from _file_facts(finding)


def _named(name: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield lines of which only the first has the name."""
    for number, line in enumerate(lines):
        yield "" if number else name, line


def _areas(finding: Finding) -> list[str]:
    """List the largest regions, unless there is only one, which is in the summary."""
    if len(finding.regions) < 2:
        return []
    places = regions_in_words(finding)[:_REGIONS]
    pairs = zip(places, finding.regions, strict=False)
    return [f"{n}: {place}, mean heatmap value {region.score:.2f}" for n, (place, region) in enumerate(pairs, 1)]


def _file_facts(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "image", f"{finding.width}x{finding.height} {finding.format}, {extent_in_words(finding)}"
    yield "JPEG", jpeg_history(finding)
    if kind := kind_in_words(finding):
        yield "kind", kind
    for claim in claims_by_statement(finding):
        yield "claim", f"{claim_in_words(claim)} ({'; '.join(filter(None, (claim.field, claim_strength(claim))))})"
    for note in finding.notes:
        if not note.startswith(SCORE_ALONE):
            yield "note", note


def _bar(score: float, blocks: str) -> str:
    full = round(score * _BAR)
    return blocks[0] * full + blocks[1] * (_BAR - full)

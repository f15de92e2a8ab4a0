"""Show findings on a terminal: a panel for one image, a table and a summary for several."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hidascan.finding import Finding, RunInfo
from hidascan.image.provenance.claim import claim_strength
from hidascan.printable import printable
from hidascan.report.heatmap import HeatmapReport
from hidascan.report.words import (
    claim_in_words,
    claims_by_statement,
    extent_in_words,
    influences_in_words,
    jpeg_history,
    kind_in_words,
    score_in_words,
)
from hidascan.summary import Card, regions_in_words, summary

_STYLES = {"ai": "bold red", "real": "green", "inconclusive": "yellow", "error": "magenta"}
_PANEL, _BAR = 88, 24  # maximum width, columns
_IN_SUMMARY = "the score alone indicates real"  # start of a note that the summary repeats
_REGIONS, _INFLUENCES = 5, 3  # listed


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
        """Print the waiting row, the counts, the unreadable files, and the names of other reports."""
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
        area = "" if finding.ai_area is None else f"{finding.ai_area:.1%}"
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
        yield name * (number == 0), line


def _areas(finding: Finding) -> list[str]:
    """List the largest regions, unless there is only one, which is in the summary."""
    if len(finding.regions) < 2:
        return []
    places = regions_in_words(finding)[:_REGIONS]
    pairs = zip(places, finding.regions, strict=False)
    return [f"{n}: {place}, mean probability {region.score:.2f}" for n, (place, region) in enumerate(pairs, 1)]


def _file_facts(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "image", f"{finding.width}x{finding.height} {finding.format}, {extent_in_words(finding)}"
    yield "JPEG", jpeg_history(finding)
    if kind := kind_in_words(finding):
        yield "kind", kind
    for claim in claims_by_statement(finding):
        yield "claim", f"{claim_in_words(claim)} ({'; '.join(filter(None, (claim.field, claim_strength(claim))))})"
    for note in finding.notes:
        if not note.startswith(_IN_SUMMARY):
            yield "note", note


def _bar(score: float, blocks: str) -> str:
    full = round(score * _BAR)
    return blocks[0] * full + blocks[1] * (_BAR - full)

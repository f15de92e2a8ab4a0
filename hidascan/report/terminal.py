"""Show findings on a terminal: a panel for one image, a table and a summary line for several."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hidascan.finding import Finding
from hidascan.image.provenance.claim import Claim
from hidascan.printable import printable
from hidascan.report.words import (
    claim_in_words,
    claim_strength,
    claims_by_statement,
    extent_in_words,
    jpeg_history,
    kind_in_words,
    score_in_words,
)
from hidascan.run import RunInfo

_STYLES = {"ai": "bold red", "real": "green", "inconclusive": "yellow", "error": "magenta"}
_PANEL, _BAR = 88, 24  # maximum width, columns


class Terminal:
    """Terminal report: rows in columns of fixed width, printed at once; the first waits, as it may be the only one."""

    def __init__(self, run: RunInfo, verbose: bool = False):
        """Set up; with `verbose`, print a panel for every image."""
        self._console = Console(file=sys.stdout, highlight=False)
        self._run, self._verbose = run, verbose
        self._counts: dict[str, int] = {}
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
                self._console.print(_row(self._first), soft_wrap=True)
                self._first = None
            self._console.print(_row(finding), soft_wrap=True)
        verdict = finding.verdict or "error"
        self._counts[verdict] = self._counts.get(verdict, 0) + 1

    def close(self) -> None:
        """Print the waiting row, and the counts."""
        if self._first:
            self._console.print(_panel(self._first, self._run, self._console))
        total, seconds = sum(self._counts.values()), time.monotonic() - self._started
        if total > 1:
            counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self._counts.items()))
            self._console.print(f"{total} files in {seconds:.1f} s: {counts}")


def _row(finding: Finding) -> Text:
    verdict = finding.verdict or "error"
    line = Text(f"{verdict:12} ", style=_STYLES[verdict])
    if finding.status == "ok":
        line.append(f"{finding.score:6.3f} {_quality(finding):>5} {_area(finding):>8}  ", style="default")
    else:
        line.append(" " * 23)
    line.append(printable(finding.path), style="default")
    if finding.error:
        line.append(f"  ({printable(finding.error)})", style="dim")
    for note in (*finding.notes, *filter(None, [finding.provenance])):
        line.append(f"  [{printable(note)}]", style="dim")
    return line


def _area(finding: Finding) -> str:
    return "" if finding.ai_area is None else f"{finding.ai_area:.1%}"


def _quality(finding: Finding) -> str:
    """Return the quality from the tables, or that from the pixels with a ~."""
    if finding.jpeg_quality is not None:
        return str(finding.jpeg_quality)
    return "" if finding.jpeg_quality_estimated is None else f"~{finding.jpeg_quality_estimated:.0f}"


def _panel(finding: Finding, run: RunInfo, console: Console) -> Panel:
    """Return a panel with all results of one image."""
    verdict = finding.verdict or "error"
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("verdict", Text(verdict, style=_STYLES[verdict]))
    for name, text in _facts(finding, run, "#." if console.options.ascii_only else "█░"):
        rows.add_row(name, Text(printable(text)))
    title = Text(printable(finding.path), overflow="ellipsis", no_wrap=True)
    return Panel(rows, title=title, title_align="left", border_style=_STYLES[verdict], width=min(console.width, _PANEL))


def _facts(finding: Finding, run: RunInfo, blocks: str) -> list[tuple[str, str]]:
    if finding.status != "ok" or finding.score is None:
        return [("error", finding.error or "")]
    thresholds = f"real below {run.real_below:.3f}, ai from {run.ai_from:.3f}"
    facts = [
        ("score", f"{_bar(finding.score, blocks)} {score_in_words(finding)} ({thresholds})"),
        ("image", f"{finding.width}x{finding.height} {finding.format}, {extent_in_words(finding)}"),
        ("JPEG", jpeg_history(finding)),
    ]
    if run.has_heatmap:
        facts.append(("heatmap", _where(finding)))
    if kind := kind_in_words(finding):
        facts.append(("kind", kind))
    facts += [("claim", _claim(claim)) for claim in claims_by_statement(finding)]
    return facts + [("note", note) for note in finding.notes]


def _claim(claim: Claim) -> str:
    return f"{claim_in_words(claim)} ({'; '.join(filter(None, (claim.field, claim_strength(claim))))})"


def _bar(score: float, blocks: str) -> str:
    full = round(score * _BAR)
    return blocks[0] * full + blocks[1] * (_BAR - full)


def _where(finding: Finding) -> str:
    if finding.ai_area is None:
        return "not computed"
    if not finding.regions:
        return "no suspicious region"
    box, count = finding.regions[0], len(finding.regions)
    return (
        f"{finding.ai_area:.1%} looks AI-made in {count} region{'s' * (count > 1)}, the largest {box.right - box.left}x"
        f"{box.bottom - box.top} px at x {box.left}, y {box.top}"
    )

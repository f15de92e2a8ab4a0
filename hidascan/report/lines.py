"""Findings on stdout: `path<TAB>verdict<TAB>score` for pipes, aligned coloured lines for people at a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from hidascan.finding import Finding

_STYLES = {"ai": "bold red", "real": "green", "inconclusive": "yellow", "error": "magenta"}


class PlainLines:
    """Three fields a line; of a file that could not be read: its path, `error`, and no score."""

    def add(self, finding: Finding) -> None:
        score = "" if finding.score is None else f"{finding.score:.4f}"
        sys.stdout.write(f"{finding.path}\t{finding.verdict or 'error'}\t{score}\n")
        sys.stdout.flush()

    def close(self) -> None:
        sys.stdout.flush()


class TerminalTable:
    """A table that grows: each row is printed as it is ready, so its columns have fixed widths."""

    def __init__(self):
        self._console = Console(file=sys.stdout, highlight=False)
        self._counts: dict[str, int] = {}

    def add(self, finding: Finding) -> None:
        if not self._counts:
            self._console.print(Text(f"{'verdict':12} {'score':>6} {'jpeg':>5} {'AI area':>8}  path", style="bold"))
        verdict = finding.verdict or "error"
        self._counts[verdict] = self._counts.get(verdict, 0) + 1
        line = Text(f"{verdict:12} ", style=_STYLES[verdict])
        if finding.status == "ok":
            line.append(f"{finding.score:6.3f} {_quality(finding):>5} {finding.ai_area:8.1%}  ", style="default")
        else:
            line.append(" " * 23)
        line.append(_printable(finding.path), style="default")
        if finding.error:
            line.append(f"  ({finding.error})", style="dim")
        for note in (*finding.notes, *filter(None, [finding.provenance])):
            line.append(f"  [{note}]", style="dim")
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        if sum(self._counts.values()) > 1:
            self._console.print(", ".join(f"{count} {verdict}" for verdict, count in sorted(self._counts.items())))


def _quality(finding: Finding) -> str:
    """From the tables as it is, from the pixels with a ~."""
    if finding.jpeg_quality is not None:
        return str(finding.jpeg_quality)
    return f"~{finding.jpeg_quality_estimated:.0f}"


def _printable(path: str) -> str:
    """Control characters of hostile names are shown, not run."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in path)

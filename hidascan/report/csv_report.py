"""Findings as CSV: the columns of `finding.COLUMNS`, a header even when there is no row."""

from __future__ import annotations

import csv

from hidascan.finding import COLUMNS, Finding
from hidascan.report.reporter import close_text, open_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvReport:
    """Each row is flushed as it is written, so that an interrupted scan leaves whole rows. A text that a spreadsheet
    would run as a formula gets an apostrophe in front. An output that is gone on with has its header."""

    def __init__(self, target: str, append: bool = False):
        self._file = open_text(target, append)
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        if not append or not self._file.tell():
            self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        self._writer.writerow({name: _harmless(value) for name, value in finding.row().items()})
        self._file.flush()

    def close(self) -> None:
        close_text(self._file)


def as_it_was(text: str) -> str:
    """A cell of a CSV without the apostrophe that was put in front."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

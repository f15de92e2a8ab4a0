"""Findings as CSV: the columns of `finding.COLUMNS`, a header even when there is no row."""

from __future__ import annotations

import csv

from hidascan.finding import COLUMNS, Finding
from hidascan.report.reporter import close_text, open_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvReport:
    """Each row is flushed as it is written, so that an interrupted scan leaves whole rows. A text that a spreadsheet
    would run as a formula gets an apostrophe in front."""

    def __init__(self, target: str):
        self._file = open_text(target)
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        self._writer.writerow({name: _harmless(value) for name, value in finding.row().items()})
        self._file.flush()

    def close(self) -> None:
        close_text(self._file)


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

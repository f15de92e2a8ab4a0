"""Findings as CSV: the columns of `finding.COLUMNS`, a header even when there is no row."""

from __future__ import annotations

import csv

from hidascan.finding import COLUMNS, Finding
from hidascan.report.reporter import close_text, open_text


class CsvReport:
    """Each row is flushed as it is written, so that an interrupted scan leaves whole rows."""

    def __init__(self, target: str):
        self._file = open_text(target)
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        self._writer.writerow(finding.row())
        self._file.flush()

    def close(self) -> None:
        close_text(self._file)

"""Findings as CSV: the columns of `finding.COLUMNS`, with a header even without rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import TextIO

from hidascan.finding import COLUMNS, Finding, RunInfo
from hidascan.printable import printable
from hidascan.report.reporter import TextReport

_END = "\r\n;\t"  # of a row in the csv module, which quotes fields with one of these characters
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


class CsvReport(TextReport):
    """CSV report. Each row is flushed, so that an interrupted scan leaves complete rows.

    Text that a spreadsheet would run as a formula gets a leading apostrophe. On a terminal, unprintable text is escaped.
    """

    START = f"{','.join(COLUMNS)}\n".encode()

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        """Open the file; a resumed one already has its header."""
        super().__init__(target, run, append)
        self._writer, self._on_terminal = csv_writer(self._file, COLUMNS), self._file.isatty()
        if not append or target == "-" or not self._file.seekable() or not self._file.tell():
            self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        """Write a row."""
        row = {name: guarded(value) for name, value in finding.row().items()}
        if self._on_terminal:
            row = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        self._writer.writerow(row)
        self._file.flush()

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether a file is a hidascan CSV, by the header of this or an earlier version with fewer columns.

        A file with added columns, such as remarks, is not recognised, so it is not replaced.
        """
        line, ended, _ = head.partition(b"\n")
        names = line.decode("utf-8", "replace").split(",")
        return bool(ended) and names[:4] == [*COLUMNS[:4]] and {*names} <= {*COLUMNS}

    @staticmethod
    def complete_records(path: str) -> Iterator[tuple[dict[str, str], int]]:
        """Yield the complete rows of a file, each with its end offset in bytes.

        A row may span several lines, as a name may; the last row may be incomplete.
        """
        end = 0

        def lines() -> Iterator[str]:
            nonlocal end
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                for line in file:
                    end += len(line.encode("utf-8", "surrogateescape"))
                    yield line if line.endswith("\n") else ""

        for number, cells in enumerate(csv.reader(lines())):
            if len(cells) != len(COLUMNS):
                return
            if number:
                yield {name: unguarded(cell) for name, cell in zip(COLUMNS, cells, strict=True)}, end


def csv_writer(file: TextIO, columns: Sequence[str]) -> csv.DictWriter[str]:
    """Return a CSV writer whose rows end with a line feed, and which quotes fields with other ends or separators.

    The csv module quotes the characters of its line terminator. Readers also accept a lone carriage return as the end of
    a row, and spreadsheets of many countries a semicolon or a tab as the end of a cell.
    """
    return csv.DictWriter(_LineFeeds(file), columns, extrasaction="ignore", lineterminator=_END)


class _LineFeeds:
    """File wrapper that ends rows with a line feed."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix(_END) + "\n")


def unguarded(text: str) -> str:
    """Remove the apostrophe added by `guarded`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def guarded(value: object) -> object:
    """Prepend an apostrophe to text that a spreadsheet would run as a formula, or that already looks guarded."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA) else value

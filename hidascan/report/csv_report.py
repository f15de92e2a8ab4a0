"""Findings as CSV: the columns of `finding.COLUMNS`, with a header even when there is no row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import TextIO

from hidascan.finding import COLUMNS, Finding
from hidascan.printable import printable
from hidascan.report.reporter import close_text, open_text
from hidascan.run import RunInfo

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


class CsvReport:
    """A CSV. Each row is flushed as it is written, so that an interrupted scan leaves whole rows.

    A text that a spreadsheet would run as a formula gets an apostrophe in front. On a terminal, what does not print is
    escaped.
    """

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        """Open it; a file that is resumed has its header."""
        self._file = open_text(target, append, self.recognises)
        self._writer, self._on_terminal = csv_writer(self._file, COLUMNS), self._file.isatty()
        if not append or not self._file.tell():
            self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        """Write a row."""
        row = {name: guarded(value) for name, value in finding.row().items()}
        if self._on_terminal:
            row = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        self._writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        close_text(self._file)

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Recognise a CSV by its header: that of this version, or of one that had fewer columns.

        A column that somebody added, such as remarks, makes it another file, which is not replaced.
        """
        line, ended, _ = head.partition(b"\n")
        names = line.decode("utf-8", "replace").split(",")
        return bool(ended) and names[:4] == [*COLUMNS[:4]] and {*names} <= {*COLUMNS}

    @staticmethod
    def complete_records(path: str) -> Iterator[tuple[dict[str, str], int]]:
        """Yield the whole rows of a file, each with the byte where it ends.

        A row may go over several lines, as a name may; part of the last one may be missing.
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
    """Return a writer of rows that end with a line feed, and whose fields are quoted also for a lone carriage return.

    The csv module quotes what occurs in its line terminator, and readers take either character for the end of a row.
    """
    return csv.DictWriter(_LineFeeds(file), columns, extrasaction="ignore", lineterminator="\r\n")


class _LineFeeds:
    """Takes whole rows and ends them as files here do."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def unguarded(text: str) -> str:
    """Take the apostrophe of `guarded` away again."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def guarded(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula, and before one that looks so guarded."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA) else value

"""Findings as CSV: the columns of `finding.COLUMNS`, with a header even when there is no row."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from hidascan.finding import COLUMNS, Finding
from hidascan.report.reporter import close_text, open_text
from hidascan.run import RunInfo

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvReport:
    """A CSV. Each row is flushed as it is written, so that an interrupted scan leaves whole rows.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        """Open it; a file that is resumed has its header."""
        self._file = open_text(target, append, self.wrote)
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        # The csv module leaves a carriage return unquoted, which ends a record for most readers.
        self._quoting = csv.DictWriter(self._file, COLUMNS, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if not append or not self._file.tell():
            self._writer.writeheader()
        self._file.flush()

    def add(self, finding: Finding) -> None:
        """Write a row."""
        row = {name: harmless(value) for name, value in finding.row().items()}
        writer = self._quoting if any("\r" in str(value) for value in row.values()) else self._writer
        writer.writerow(row)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        close_text(self._file)

    @staticmethod
    def wrote(head: bytes) -> bool:
        """Recognise a CSV by its header: that of this version, or of one that had fewer columns.

        A column that somebody added, such as remarks, makes it another file, which is not replaced.
        """
        line, ended, _ = head.partition(b"\n")
        names = line.decode("utf-8", "replace").split(",")
        return bool(ended) and names[:4] == [*COLUMNS[:4]] and {*names} <= {*COLUMNS}

    @staticmethod
    def whole_records(path: str) -> Iterator[tuple[dict[str, str], int]]:
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
                yield {name: as_it_was(cell) for name, cell in zip(COLUMNS, cells, strict=True)}, end


def as_it_was(text: str) -> str:
    """Take the apostrophe of `harmless` away again."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def harmless(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

"""Read the column of paths in a table: a CSV, TSV or Parquet file."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from hidascan.errors import UsageError
from hidascan.image.formats import kind_from_head
from hidascan.image.path_text import BLOCK, UTF8, encoding_of, readable_name

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def is_path_table(name: str) -> bool:
    """Return whether a file is a table of paths, not a plain list, by its suffix."""
    return name.lower().endswith((*_SEPARATORS, ".parquet"))


def paths_in_table(name: str, column: str) -> Iterator[str]:
    """Yield the cells of a column of a table; "" for a row that lacks its path.

    Raises:
        OSError: If the file cannot be read.
        UsageError: If it is not a table with this column.
    """
    return (_parquet if name.lower().endswith(".parquet") else _text)(name, column)


def _text(name: str, column: str) -> Iterator[str]:
    """Yield the cells of a column of a CSV or TSV file; "" for a row that lacks its path, none for a blank row."""
    with open(name, "rb") as file:
        head = file.peek(BLOCK)
        if kind := kind_from_head(head):
            raise UsageError(f"--files-from {name} is not a table: it looks like {kind}")
        encoding = encoding_of(head)
        errors = "surrogateescape" if encoding in UTF8 else "replace"
        lines = _CountedLines(io.TextIOWrapper(file, encoding, errors, newline=""))
        first, separator = _first_line(lines), ""
        if declared := SEP_LINE.fullmatch(first):
            first, separator = _first_line(lines), declared[1]
        separator = separator or _separator(first, _SEPARATORS[name[-4:].lower()], column)
        rows = _rows(first, lines, separator, column, f"--files-from {name}")
        names = [one.strip() for one in next(rows, [])]
        _check(name, column, names)
        at = names.index(column)
        for row in rows:
            if any(cell.strip() for cell in row):
                yield _path_of(row, at, separator, alone=len(names) == 1)


class _CountedLines:
    """The lines of a file; `number` is that of the last one."""

    def __init__(self, lines: Iterable[str]):
        self._lines, self.number, self.last = iter(lines), 0, ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        self.number += 1
        return self.last


def _rows(first: str, lines: _CountedLines, separator: str, column: str, source: str) -> Iterator[list[str]]:
    """Yield the cells of each row of a table, whose first line has been read.

    Quotes are read strictly, or an open one would swallow rows. A line with text after a quoted part is read as it is, if
    that leaves no doubt about its path: captions in tables are often unquoted.

    Raises:
        UsageError: If a quote is not closed, or could hide the path.
    """
    names: list[str] = []
    rows = csv.reader(chain([first], lines), delimiter=separator, strict=True)
    while True:
        before = lines.number if names else lines.number - 1
        try:
            row = next(rows)
            names = names or [one.strip() for one in row]
            yield row
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise UsageError(f"{source}: line {before + 1}: a quotation mark is not closed") from None
            if lines.number != before + 1 or "expected after" not in str(error):
                raise UsageError(f"{source}: line {lines.number}: {error}") from None
            row = next(csv.reader([lines.last], delimiter=separator))
            certain = lines.last[: lines.last.index('"')].count(separator)  # cells before the first quotation mark
            if len(names) > 1 and len(row) != len(names) and column in names[certain:]:
                raise UsageError(f"{source}: line {lines.number}: {error}") from None
            yield row


def _path_of(row: list[str], at: int, separator: str, alone: bool) -> str:
    """Return the path in a row, "" if it lacks one; in a table of one column, it may contain unquoted separators."""
    path = row[at] if at < len(row) else ""
    if alone and len(row) > 1:
        whole = readable_name(separator.join(row))
        if os.path.lexists(whole) or not os.path.lexists(readable_name(path)):
            return whole
    return readable_name(path) if path.strip() else ""


def _first_line(lines: Iterator[str]) -> str:
    """Return the next non-blank line; "" if there is none."""
    return next((line for line in lines if line.strip()), "")


def _separator(header: str, usual: str, column: str) -> str:
    """Return the separator of a header: the usual one, unless only another one yields the column."""
    cells = {sign: next(csv.reader([header], delimiter=sign), []) for sign in (usual, ";", "\t", ",")}
    named = [sign for sign in cells if column in (cell.strip() for cell in cells[sign])]
    return named[0] if named else max(cells, key=lambda sign: len(cells[sign]))


def _parquet(name: str, column: str) -> Iterator[str]:
    """Yield the values of a column of a Parquet file; "" for a row that lacks its path."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError(f"--files-from {name} needs pyarrow: pip install 'hidascan[ray]'") from None
    with ParquetFile(name) as file:
        _check(name, column, file.schema_arrow.names)
        for batch in file.iter_batches(columns=[column]):
            values = batch.column(0).to_pylist()
            yield from (os.fsdecode(value) if isinstance(value, bytes) else str(value or "") for value in values)


def _check(name: str, column: str, columns: list[str]) -> None:
    if column not in columns:
        raise UsageError(
            f"--files-from {name}: no column {column!r} (--column); columns: {', '.join(columns) or 'none'}"
        )

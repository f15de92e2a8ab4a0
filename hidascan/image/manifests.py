"""Read paths from a table: a column of a CSV, TSV or Parquet file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from hidascan.errors import UsageError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_SEPARATORS, ".parquet")


def is_manifest(name: str) -> bool:
    """Tell a table from a plain list of paths, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def read_manifest(name: str, column: str) -> Iterator[str]:
    """Yield what a column holds, row by row; skip empty cells.

    Raises:
        UsageError: If the file cannot be read, or has no such column.
    """
    try:
        read = _parquet if name.lower().endswith(".parquet") else _text
        yield from read(name, column)
    except OSError as error:
        raise UsageError(f"--files-from {name}: {error.strerror or error}") from None
    except (
        ValueError
    ) as error:  # csv.Error and UnicodeDecodeError do not say which file; Arrow's errors are of this kind
        raise UsageError(f"--files-from {name}: {error}") from None


def _text(name: str, column: str) -> Iterator[str]:
    with open(name, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file, delimiter=_SEPARATORS[Path(name).suffix.lower()])
        _check(name, column, list(rows.fieldnames or ()))
        try:
            yield from (row[column] for row in rows if row[column])
        except csv.Error as error:
            raise UsageError(f"--files-from {name}: line {rows.line_num}: {error}") from None


def _parquet(name: str, column: str) -> Iterator[str]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError(f"--files-from {name} needs pyarrow: pip install 'hidascan[ray]'") from None
    with ParquetFile(name) as file:
        _check(name, column, file.schema_arrow.names)
        for batch in file.iter_batches(columns=[column]):
            yield from (str(value) for value in batch.column(0).to_pylist() if value)


def _check(name: str, column: str, columns: list[str]) -> None:
    if column not in columns:
        raise UsageError(f"--files-from {name}: no column {column!r} among {', '.join(columns) or 'none'} (--column)")

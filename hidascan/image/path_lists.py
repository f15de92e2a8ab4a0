"""Read lists of paths: plain ones, one path per line, or a column of a CSV, TSV or Parquet file."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from hidascan.errors import UsageError, reason_of
from hidascan.image.formats import kind_from_head

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_SEPARATORS, ".parquet")
STDIN = "-"

_BLOCK = 1 << 16
_HEAD = 16  # bytes that identify the kind of a file
_MAX_LINE_BYTES = 1 << 15  # bytes; paths end at 4096
_MARKS = (  # byte-order marks, longest first, as that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = ("utf-8", "utf-8-sig")
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_DOCUMENT = re.compile(rb'\s*(?:<(?:[?!]|svg|html|head)|\{\s*"|\[\s*[\[{"])', re.IGNORECASE)


def is_path_table(name: str) -> bool:
    """Return whether a file is a table of paths, not a plain list, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def paths_in(name: str, column: str, null: bool) -> Iterator[str]:
    """Yield the paths listed in a file, as they arrive.

    A table, recognised by its suffix, has a column of paths; any other file is a plain list, with `null` separated by
    NUL. "-" is a plain list on stdin.

    Raises:
        UsageError: If the file cannot be read, or is not a list of paths.
    """
    source = "stdin" if name == STDIN else f"--files-from {name}"
    try:
        if is_path_table(name):
            yield from (_parquet if name.lower().endswith(".parquet") else _text)(name, column)
        elif name == STDIN:
            if sys.stdin is None:
                raise UsageError("stdin is closed, so no list of paths can be read")
            yield from read_list(sys.stdin.buffer, source, column, null)
        else:
            with open(name, "rb") as file:
                yield from read_list(file, source, column, null)
    except OSError as error:
        raise UsageError(f"{source}: {reason_of(error)}") from None
    except ValueError as error:  # a NUL in the name, or a message without it, of a codec or of Arrow
        raise UsageError(f"{source}: {error}") from None


def read_list(stream: Any, source: str, column: str, null: bool) -> Iterator[str]:
    """Yield paths from a buffered binary stream, as they arrive; skip empty ones.

    With `null`, names are taken literally. In lines, carriage returns and byte-order marks are removed, unless a file
    has that very name.

    Raises:
        UsageError: If the stream is not a list of paths.
    """
    head = _head(stream, b"\0" if null else b"\n")
    _refuse_other_files(head, source, b"\0" if null else b"\n")
    if null:
        yield from _between_nuls(stream, head, source)
        return
    encoding = _encoding(head)
    head = head if encoding.startswith("utf-16") or encoding == "utf-32" else head.removeprefix(codecs.BOM_UTF8)
    blocks = _blocks(stream, head)
    first = True
    for line in _lines(blocks if encoding in _UTF8 else _recoded(blocks, encoding), source):
        if first:
            _refuse_table(line, column, source)
        first = False
        yield readable_name(line)


def _head(stream: Any, end: bytes) -> bytes:
    """Read a few bytes, or one name, enough to identify the kind of file; more may arrive much later."""
    head: bytes = stream.read1(_BLOCK)
    while head and len(head) < _HEAD and end not in head and (more := stream.read1(_BLOCK)):
        head += more
    return head


def _blocks(stream: Any, head: bytes) -> Iterator[bytes]:
    block = head
    while block:
        yield block
        block = stream.read1(_BLOCK)


def _encoding(head: bytes) -> str:
    """Return the encoding of a list, by its byte-order mark, or UTF-16 if every second byte is NUL."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[: min(len(head), 512) & ~1]
    for encoding, letters, nuls in (("utf-16-le", start[::2], start[1::2]), ("utf-16-be", start[1::2], start[::2])):
        few_letters = nuls.count(0) >= 0.7 * len(nuls)  # others are not Latin
        if len(nuls) >= 4 and few_letters and 0 not in letters and set(letters) & set(b"./\\"):
            return encoding
    return "utf-8"


def _recoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Convert blocks to the file-system encoding of this machine."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield os.fsencode(decoder.decode(block))
    yield os.fsencode(decoder.decode(b"", final=True))


def _lines(blocks: Iterable[bytes], source: str) -> Iterator[str]:
    rest, many = b"", False
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        many |= bool(lines)
        if b"\0" in block or len(rest) > _MAX_LINE_BYTES:
            raise UsageError(_format_problem(rest + block, source))
        for line in lines:
            if name := _without_end(os.fsdecode(line)):
                yield name
    last = os.fsdecode(rest)
    old_mac = not many and "\r" in last.rstrip("\r") and not os.path.lexists(last)
    yield from filter(None, map(_without_end, last.split("\r") if old_mac else [last]))


def _without_end(line: str) -> str:
    """Return a line without its carriage return, "" if blank; unchanged if a file has that very name."""
    if not line or not (line.endswith("\r") or line.isspace()) or os.path.lexists(line):
        return line
    line = line.removesuffix("\r")
    return "" if line.isspace() and not os.path.lexists(line) else line


def _format_problem(data: bytes, source: str) -> str:
    if b"\0" not in data:
        return f"{source} is not a list of paths: a line is longer than any path"
    if any(byte < 32 and byte not in b"\0\t\n\r" for byte in data[:4096]):
        return f"{source} is not a list of paths: it contains binary data"
    return f"{source} looks NUL-separated: use -0"


def _between_nuls(stream: Any, head: bytes, source: str) -> Iterator[str]:
    rest, many = b"", False
    for block in _blocks(stream, head):
        *names, rest = (rest + block).split(b"\0")
        many |= bool(names)
        if len(rest) > _MAX_LINE_BYTES:
            raise UsageError(f"{source} is not NUL-separated: omit -0")
        yield from (os.fsdecode(name) for name in names if name)
    if not many and b"\n" in rest.rstrip(b"\n") and not os.path.lexists(rest):
        raise UsageError(f"{source} is not NUL-separated: omit -0")
    if rest:
        yield os.fsdecode(rest)


def readable_name(name: str) -> str:
    """Return a spelling of a name of which a file exists; the name itself if there is none.

    Lists contain quotes and spaces around names, an apostrophe before them, as in reports of hidascan, other Unicode
    forms, and bytes of a Windows code page.
    """
    if os.path.lexists(name):
        return name
    bare = name.strip().strip('"')
    plain = bare.removeprefix("'")
    for other in (bare, plain, *(unicodedata.normalize(form, one) for one in (bare, plain) for form in ("NFC", "NFD"))):
        if other and os.path.lexists(other):
            return other
    if not any("\udc80" <= letter <= "\udcff" for letter in name):
        return name
    other = os.fsencode(name).decode("cp1252", "replace")
    return other if os.path.lexists(other) else name


def _refuse_other_files(head: bytes, source: str, end: bytes) -> None:
    """Refuse a file of another kind, by its first bytes, unless these are the name of an existing file.

    Raises:
        UsageError: If it is of another kind, with advice.
    """
    kind = kind_from_head(head) or ("a document (HTML, SVG, XML or JSON)" if _DOCUMENT.match(head) else "")
    if not kind or os.path.lexists(os.fsdecode(head.split(end)[0].rstrip(b"\r\0"))):
        return
    advice = ""
    if kind.endswith(" image"):
        advice = (
            "; to scan an image from a pipe, use /dev/stdin" if source == "stdin" else "; to scan it, pass it as PATH"
        )
    elif "Excel" in kind:
        advice = "; save the workbook as CSV"
    raise UsageError(f"{source} is not a list of paths: it looks like {kind}{advice}")


def _refuse_table(line: str, column: str, source: str) -> None:
    """Refuse a table without the suffix of one.

    Raises:
        UsageError: If the line is a header with the column.
    """
    cells = [cell.strip().strip('"') for cell in re.split("[,;\t]", line)]
    if (_SEP_LINE.fullmatch(line) or (len(cells) > 1 and column in cells)) and not os.path.lexists(line):
        raise UsageError(f"{source} looks like a table, not a list of paths: rename it to .csv or .tsv")


def _text(name: str, column: str) -> Iterator[str]:
    """Yield the cells of a column of a CSV or TSV file; "" for a row that lacks its path, none for a blank row."""
    with open(name, "rb") as file:
        head = file.peek(_BLOCK)
        if kind := kind_from_head(head):
            raise UsageError(f"--files-from {name} is not a table: it looks like {kind}")
        encoding = _encoding(head)
        errors = "surrogateescape" if encoding in _UTF8 else "replace"
        lines = _CountedLines(io.TextIOWrapper(file, encoding, errors, newline=""))
        first, separator = _first_line(lines), ""
        if declared := _SEP_LINE.fullmatch(first):
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

"""Read lists of paths: plain ones, one path per line, and tables."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from hidascan.errors import UsageError, reason_of
from hidascan.image.formats import kind_from_head
from hidascan.image.path_tables import SEP_LINE, is_path_table, paths_in_table
from hidascan.image.path_text import BLOCK, UTF8, encoding_of, readable_name

STDIN = "-"

_HEAD = 16  # bytes that identify the kind of a file
_MAX_LINE_BYTES = 1 << 15  # bytes; paths end at 4096
_DOCUMENT = re.compile(rb'\s*(?:<(?:[?!]|svg|html|head)|\{\s*"|\[\s*[\[{"])', re.IGNORECASE)


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
            yield from paths_in_table(name, column)
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
    encoding = encoding_of(head)
    head = head if encoding.startswith("utf-16") or encoding == "utf-32" else head.removeprefix(codecs.BOM_UTF8)
    blocks = _blocks(stream, head)
    first = True
    for line in _lines(blocks if encoding in UTF8 else _recoded(blocks, encoding), source):
        if first:
            _refuse_table(line, column, source)
        first = False
        yield readable_name(line)


def _head(stream: Any, end: bytes) -> bytes:
    """Read a few bytes, or one name, enough to identify the kind of file; more may arrive much later."""
    head: bytes = stream.read1(BLOCK)
    while head and len(head) < _HEAD and end not in head and (more := stream.read1(BLOCK)):
        head += more
    return head


def _blocks(stream: Any, head: bytes) -> Iterator[bytes]:
    block = head
    while block:
        yield block
        block = stream.read1(BLOCK)


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
    if (SEP_LINE.fullmatch(line) or (len(cells) > 1 and column in cells)) and not os.path.lexists(line):
        raise UsageError(f"{source} looks like a table, not a list of paths: rename it to .csv or .tsv")

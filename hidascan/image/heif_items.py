"""Find the coded pixels of a HEIF or AVIF file: the extents of its main picture, or of its tiles.

Boxes of ISO/IEC 23008-12: `pitm` names the main item, `iref` the tiles (`dimg`) of a grid, `iloc` the extents of items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hidascan.image.boxes import iso_boxes

_IN_FILE = 0  # construction method of items whose offsets are those of the file
_TO_THE_END = 1 << 62  # bytes: the length of an extent that is given as 0
_MAX_DEPTH = 4  # nested items derived from others, such as an overlay of grids


class _Reader:
    """Reads big-endian numbers one after another; EOFError at the end."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def number(self, size: int) -> int:
        """Return the number in the next `size` bytes; 0 if `size` is 0."""
        if self.at + size > len(self.data):
            raise EOFError("the box is too short")
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")


class _Box(NamedTuple):
    kind: bytes
    content: bytes

    @property
    def version(self) -> int:
        return self.content[0]

    def reader(self) -> _Reader:
        """Return a reader behind version and flags."""
        return _Reader(self.content, 4)


def coded_extents(data: bytes) -> list[tuple[int, int]]:
    """Return the extents (start, stop) of the coded pixels of the main picture; none if they cannot be found.

    Tracks of image sequences and items within `meta` itself (`idat`) are not searched.
    """
    try:
        meta = next(box for box in _boxes(data) if box.kind == b"meta")
        inside = {box.kind: box for box in _boxes(meta.content[4:])}
        main = inside[b"pitm"].reader().number(2 if inside[b"pitm"].version == 0 else 4)
        parts = _derived_from(inside[b"iref"]) if b"iref" in inside else {}
        items = {main}
        for _ in range(_MAX_DEPTH):
            items |= {part for item in items for part in parts.get(item, ())}
        places = _places(inside[b"iloc"])
        return [extent for item in sorted(items) for extent in places.get(item, ())]
    except (StopIteration, KeyError, IndexError, EOFError):
        return []


def _boxes(data: bytes) -> Iterator[_Box]:
    yield from (_Box(kind, data[start:end]) for kind, start, end in iso_boxes(data))


def _derived_from(references: _Box) -> dict[int, list[int]]:
    """Return the items that each derived item, such as a grid, consists of."""
    width = 2 if references.version == 0 else 4
    parts = {}
    for box in _boxes(references.content[4:]):
        if box.kind == b"dimg":
            reader = _Reader(box.content, 0)
            item, count = reader.number(width), reader.number(2)
            parts[item] = [reader.number(width) for _ in range(count)]
    return parts


def _places(locations: _Box) -> dict[int, list[tuple[int, int]]]:
    """Return the extents (start, stop) in the file of each item."""
    reader, version = locations.reader(), locations.version
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 2 if version < 2 else 4
    extents: dict[int, list[tuple[int, int]]] = {}
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else _IN_FILE
        reader.number(2)  # the file that holds the data: this one
        base = reader.number(base_size)
        for _ in range(reader.number(2)):
            reader.number(index_size if version else 0)
            start, length = base + reader.number(offset_size), reader.number(length_size)
            if method == _IN_FILE:
                extents.setdefault(item, []).append((start, start + (length or _TO_THE_END)))
    return extents

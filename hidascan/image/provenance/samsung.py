"""Read the trailer that Samsung's phones write behind a picture: blocks of data, "SEFH", a directory of them, "SEFT"."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_START, _END = b"SEFH", b"SEFT"
_HEAD, _ENTRY, _BLOCK_HEAD = struct.Struct("<8xI"), struct.Struct("<2xHII"), struct.Struct("<4xI")
_MAX_BEHIND = 1_000_000  # bytes
_MAX_BLOCKS, _MAX_BLOCK = 100, 4_000_000  # number that is read, and bytes of each: edits are short, videos are not
_MAX_ENDS = 100  # that are tried, as other data may contain these letters, too


def trailer_blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each block in the last trailer of a file; up to 1 MB may follow it."""
    end = len(data)
    first = max(end - _MAX_BEHIND, 0)
    for _ in range(_MAX_ENDS):
        end = data.rfind(_END, first, end)
        if end < 4:
            return
        start = end - 4 - int.from_bytes(data[end - 4 : end], "little")
        if start >= 0 and start + _HEAD.size <= end and data.startswith(_START, start):
            yield from _blocks(data, start, end)
            return


def _blocks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the blocks that the directory between two offsets lists; their distances count back from its start."""
    (count,) = _HEAD.unpack_from(data, start)
    first = start + _HEAD.size
    for number in range(min(count, (end - 4 - first) // _ENTRY.size, _MAX_BLOCKS)):
        _, distance, size = _ENTRY.unpack_from(data, first + number * _ENTRY.size)
        if _BLOCK_HEAD.size <= size <= min(distance, _MAX_BLOCK) and distance <= start:
            block = data[start - distance : start - distance + size]
            name_end = _BLOCK_HEAD.size + _BLOCK_HEAD.unpack_from(block)[0]
            yield block[_BLOCK_HEAD.size : name_end], block[name_end:]

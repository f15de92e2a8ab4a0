"""Walk the chunks of PNG and WebP, and the boxes of ISO base media files (HEIF, AVIF)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the offset, and the size of the content of each chunk of a PNG; of any other file, nothing."""
    place = len(PNG_SIGNATURE) if data.startswith(PNG_SIGNATURE) else len(data)
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, size
        place += 12 + size


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each chunk of a WebP, and the offset of its end, before the byte that pads an odd size."""
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        end = place + 8 + size
        yield kind, end
        place = end + end % 2


def iso_boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the offset of the content, and that of the end of each box, up to one of an invalid size."""
    place = 0
    while place + 8 <= len(data):
        size, start = int.from_bytes(data[place : place + 4], "big"), place + 8
        if size == 1:
            size, start = int.from_bytes(data[place + 8 : place + 16], "big"), place + 16
        end = place + size if size else len(data)
        yield data[place + 4 : place + 8], start, end
        if end < start:
            return
        place = end

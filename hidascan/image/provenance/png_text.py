"""Read the text chunks of a PNG, before and after its pixels, compressed or not, ignoring checksums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PILLOW, _PILLOW_TOGETHER = 1 << 20, 1 << 25  # unpacked bytes of one text and of all, below Pillow's limits
_MAX_RATIO = 1032  # of deflate
_MAX_CHUNKS, _MAX_TEXTS, _MAX_BYTES = 1_000_000, 500, 8_000_000  # bytes of all texts together, unpacked


def png_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (keyword, content) of each text chunk; content in UTF-8.

    Pillow keeps only the last chunk of a keyword, and rejects files with long texts.
    """
    left = _MAX_BYTES
    for number, (kind, at, size) in enumerate(_text_chunks(data)):
        if number >= _MAX_TEXTS or left <= 0:
            return
        key, _, rest = data[at + 8 : at + 8 + min(size, _MAX_BYTES)].partition(b"\0")
        content = _content(kind, rest, left)
        left -= len(content)
        yield key[:80].decode("latin-1"), content


def without_long_texts(data: bytes) -> bytes:
    """Return a file without texts that are too long for Pillow, which would reject the file."""
    if sum(_MAX_RATIO * size for _, _, size in _text_chunks(data)) <= _PILLOW:
        return data
    kept, start, left = [], 0, _PILLOW_TOGETHER
    for kind, at, size in _text_chunks(data):
        body = data[at + 8 : at + 8 + size]
        unpacked = len(_content(kind, body.partition(b"\0")[2], _PILLOW + 1)) if left > 0 else 0
        if unpacked > _PILLOW or left <= 0:
            kept.append(data[start:at])
            start = at + 12 + size
        left -= unpacked
    return b"".join((*kept, data[start:]))


def _text_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, offset, size) of each text chunk."""
    at = len(_SIGNATURE) if data.startswith(_SIGNATURE) else len(data)
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield kind, at, size
        at += 12 + size


def _content(kind: bytes, rest: bytes, max_bytes: int) -> bytes:
    packed = kind == b"zTXt"
    if packed:
        rest = rest[1:]  # the compression method, always deflate
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated keyword
    if not packed:
        rest = rest[:max_bytes]
        return rest if kind == b"iTXt" else _utf_8(rest)
    try:
        unpacked = zlib.decompressobj().decompress(rest, max_bytes)
    except zlib.error:
        return b""
    return unpacked if kind == b"iTXt" else _utf_8(unpacked)


def _utf_8(text: bytes) -> bytes:
    """Convert Latin-1 to UTF-8; many programs write UTF-8 already."""
    try:
        text.decode("utf-8")
        return text
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()

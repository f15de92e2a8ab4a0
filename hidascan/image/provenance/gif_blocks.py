"""Read the comments and the XMP of a GIF, before and after its frames."""

from __future__ import annotations

from collections.abc import Iterator

_HEADER_BYTES, _EXTENSION, _FRAME, _COMMENT, _APPLICATION = 13, 0x21, 0x2C, 0xFE, 0xFF
_XMP = b"\x0bXMP DataXMP"
_XMP_TRAILER = b"\x01\xff\xfe\xfd"
_MAX_BLOCKS, _MAX_BYTES = 200_000, 4_000_000


def gif_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield ("comment", text) and ("xmp", packet); stop at damage."""
    try:
        yield from _extensions(data)
    except IndexError:
        return


def _extensions(data: bytes) -> Iterator[tuple[str, bytes]]:
    at, left = _HEADER_BYTES + _palette_bytes(data[10]), _MAX_BLOCKS
    while left > 0 and data[at] in (_EXTENSION, _FRAME):
        start = at + 11 + _palette_bytes(data[at + 9]) if data[at] == _FRAME else at + 2
        end, blocks = _end_of_blocks(data, start, left)
        if data[at] == _EXTENSION and data[at + 1] == _COMMENT:
            yield "comment", b"".join(_blocks(data, start))[:_MAX_BYTES]
        elif data[at] == _EXTENSION and data[at + 1] == _APPLICATION and data.startswith(_XMP, start):
            packet = data[
                start + len(_XMP) : min(end, start + _MAX_BYTES)
            ]  # not in sub-blocks: its trailer marks the end
            yield "xmp", packet.partition(_XMP_TRAILER)[0]
        at, left = end, left - blocks


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int, max_blocks: int) -> tuple[int, int]:
    """Return the end offset and the number of the blocks that start at `at`."""
    for count in range(max_blocks):
        if not data[at]:
            return at + 1, count + 1
        at += 1 + data[at]
    return len(data), max_blocks


def _blocks(data: bytes, at: int) -> Iterator[bytes]:
    while data[at]:
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]

"""Find the box of a C2PA manifest in a file's container, without the C2PA library.

Searching for "c2pa" would also match captions and URLs, for which loading the library would waste 0.1 s.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from hidascan.image.boxes import iso_boxes, png_chunks, webp_chunks

_BMFF_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_TIFF_TAG = 0xCD41
_GIF_EXTENSION = b"\x21\xff\x0bC2PA_GIF"
_MAX_DIRECTORIES, _MAX_TAGS = 32, 1000
_BARE_MARKERS = (0x01, *range(0xD0, 0xD9))  # JPEG markers without a length


def holds_manifest(data: bytes, format: str) -> bool:
    """Return whether the container has a box for a C2PA manifest, valid or not.

    Args:
        data: Content of the file.
        format: Pillow's name of the format.
    """
    search = _SEARCHES.get(format)
    return search is not None and search(data)


def _in_jpeg(data: bytes) -> bool:
    at = 2
    while 0 <= at < len(data) - 4:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] != 0xFF or marker == 0xFF:  # stray or fill bytes
            at = data.find(b"\xff", at + 1)
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in (0xDA, 0xD9):
            return False
        elif marker == 0xEB and _is_c2pa(data[at + 4 : at + 2 + size]):
            return True
        else:
            at += 2 + max(size, 2)
    return False


def _is_c2pa(segment: bytes) -> bool:
    """Return whether a segment APP11 holds a manifest, or one that was overwritten so that its kind is lost."""
    kind, part, box, inner = segment[:2], segment[4:8], segment[12:16], segment[20:24]
    overwritten = box == bytes(4) or (box == b"jumb" and inner != b"jumd" and part == b"\0\0\0\1")
    emptied = bool(segment) and not segment.strip(b"\0")
    return emptied or (kind == b"JP" and (b"c2pa" in segment or overwritten))


def _in_png(data: bytes) -> bool:
    return any(kind == b"caBX" for kind, _, _ in png_chunks(data))


def _in_webp(data: bytes) -> bool:
    return any(kind == b"C2PA" for kind, _ in webp_chunks(data))


def _in_bmff(data: bytes) -> bool:
    boxes = iso_boxes(data)
    return any(kind == b"uuid" and data.startswith(_BMFF_UUID, start) for kind, start, _ in boxes)


def _in_tiff(data: bytes) -> bool:
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    layout, entry, pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
    try:
        (at,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
        for _ in range(_MAX_DIRECTORIES):
            (count,) = struct.unpack_from(order + layout, data, at)
            first = at + struct.calcsize(layout)
            tags = (struct.unpack_from(order + "H", data, first + entry * n)[0] for n in range(min(count, _MAX_TAGS)))
            if _TIFF_TAG in tags:
                return True
            (at,) = struct.unpack_from(order + pointer, data, first + entry * count)
            if not at:
                return False
    except (struct.error, OverflowError):  # a directory beyond the end
        return False
    return False


_SEARCHES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _in_jpeg,
    "MPO": _in_jpeg,
    "PNG": _in_png,
    "WEBP": _in_webp,
    "TIFF": _in_tiff,
    "GIF": lambda data: _GIF_EXTENSION in data,
    "HEIF": _in_bmff,
    "AVIF": _in_bmff,
}

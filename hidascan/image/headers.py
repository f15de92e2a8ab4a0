"""Simplify the headers of files that viewers show, but whose decoders reject a part that pixels do not need."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf", b"tEXt", b"iTXt"}
_TRANSPARENCY_BYTES = {0: 2, 2: 6}  # size of tRNS by colour type; of palettes, any

_SOS, _APP0, _APP13 = 0xDA, 0xE0, 0xED
_SHORTEST = {_APP0: 14, 0xEE: 12}  # bytes in the segments of JFIF and Adobe
_ICC, _JFIF = b"ICC_PROFILE", b"JFIF\0"

_MAX_BRANDS = 1024  # bytes
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"hevc", b"hevx"}
_EXIF_ITEM = re.compile(rb"(infe.{8})Exif", re.DOTALL)


def versions(data: bytes) -> Iterator[bytes]:
    """Yield a file, then a PNG, JPEG or AVIF without the parts that are not needed to show it: first with texts and IPTC."""
    yield data
    known = [data]
    for texts in (True, False):
        simple = _simplified(data, texts)
        if simple not in known:
            known.append(simple)
            yield simple


def _simplified(data: bytes, texts: bool) -> bytes:
    if data.startswith(PNG_SIGNATURE):
        return plain_png(data, texts)
    if data.startswith(b"\xff\xd8"):
        return plain_jpeg(data, texts)
    if data[4:8] == b"ftyp":
        return _EXIF_ITEM.sub(rb"\1free", data, count=1)
    return data


def plain_png(data: bytes, packed: bool = False) -> bytes:
    """Return a PNG with its header, palette, transparency, pixels and texts only; compressed texts if `packed`."""
    colour = data[25] if len(data) > 25 else 0
    parts = [PNG_SIGNATURE]
    for kind, chunk in chunks_of(data):
        size = len(chunk) - 12
        transparent = kind == b"tRNS" and size and size == _TRANSPARENCY_BYTES.get(colour, size)
        if kind in _PNG_CHUNKS or transparent or (packed and kind == b"zTXt"):
            parts.append(chunk)
    return b"".join(parts)


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and all bytes of each chunk with a correct checksum."""
    place = len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        chunk = data[place : place + 12 + size]
        if chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4])):
            yield kind, chunk
        place += 12 + size
        if kind == b"IEND":
            return


def plain_jpeg(data: bytes, resources: bool = False) -> bytes:
    """Return a JPEG without ICC profile and malformed segments, with the usual version of JFIF.

    Photoshop's resources, which may hold IPTC, are kept if `resources`. The scan of a sequential JPEG gets its only valid
    parameters.
    """
    parts, place, progressive = [data[:2]], 2, False
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        kind, size = data[place + 1], 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        segment, place = data[place : place + size], place + size
        progressive |= kind in (0xC2, 0xCA)
        if kind == _SOS and not progressive:
            segment = segment[:-3] + b"\0\x3f\0"
        if kind == _APP0 and segment[4:9] == _JFIF:
            segment = segment[:9] + b"\1" + segment[10:]
        if (resources or kind != _APP13) and not segment[4:].startswith(_ICC) and size - 4 >= _SHORTEST.get(kind, 0):
            parts.append(segment)
        if kind == _SOS:
            break
    return b"".join([*parts, data[place:]])


def brands_of(data: bytes) -> set[bytes]:
    """Return the compatible brands of an ISO base media file."""
    end = min(int.from_bytes(data[:4], "big"), len(data), _MAX_BRANDS)
    return {data[at : at + 4] for at in range(16, end, 4)}


def with_known_brand(data: bytes) -> bytes:
    """Return a HEIF file with a main brand by which its decoder recognises it; any other file unchanged.

    AVIF files may have the brand of the container, "mif1", and only name theirs as a compatible one.
    """
    if data[4:8] != b"ftyp" or data[8:12] in _AVIF | _HEIC:
        return data
    brands = brands_of(data)
    if brands & _AVIF and not brands & _HEIC:
        return data[:8] + b"avif" + data[12:]
    return data[:8] + b"mif1" + data[12:] if data[8:12] == b"miaf" else data

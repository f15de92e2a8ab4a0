"""Simplify headers of files that viewers show but decoders reject, without the parts that pixels do not need."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from hidascan.image.boxes import PNG_SIGNATURE, png_chunks

_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf", b"tEXt", b"iTXt"}
_TRANSPARENCY_BYTES = {0: 2, 2: 6}  # size of tRNS by colour type; of palettes, any

_SOS, _APP0, _APP13, _APP14 = 0xDA, 0xE0, 0xED, 0xEE
FRAMES, _PROGRESSIVE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}, {0xC2, 0xCA}
_SHORTEST = {_APP0: 14, _APP14: 12}  # bytes in the segments of JFIF and Adobe
_ICC, _JFIF, _ADOBE = b"ICC_PROFILE", b"JFIF\0", b"Adobe"

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


def plain_png(data: bytes, packed: bool) -> bytes:
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
    for kind, place, size in png_chunks(data):
        chunk = data[place : place + 12 + size]
        if len(chunk) >= 12 and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4])):
            yield kind, chunk
        if kind == b"IEND":
            return


def plain_jpeg(data: bytes, resources: bool = False) -> bytes:
    """Return a JPEG without ICC profile and malformed segments, with the usual version of JFIF and transform of Adobe.

    Photoshop's resources, which may hold IPTC, are kept if `resources`. The scan of a sequential JPEG gets its only valid
    parameters.
    """
    segments = list(jpeg_segments(data))
    rest = data[2 + sum(len(segment) for _, segment in segments) :]
    progressive = any(kind in _PROGRESSIVE for kind, _ in segments)
    channels = next((segment[9] for kind, segment in segments if kind in FRAMES and len(segment) > 9), 3)
    parts = [data[:2]]
    for kind, segment in segments:
        if segment[4:].startswith(_ICC) or len(segment) - 4 < _SHORTEST.get(kind, 0):
            continue
        if kind == _APP13 and not resources:
            continue
        if kind == _SOS and not progressive:
            segment = segment[:-3] + b"\0\x3f\0"
        elif kind == _APP0 and segment[4:9] == _JFIF:
            segment = segment[:9] + b"\1" + segment[10:]
        elif kind == _APP14 and segment[4:9] == _ADOBE:
            segment = _with_known_transform(segment, channels)
        parts.append(segment)
    return b"".join([*parts, rest])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and all bytes of each segment of a JPEG up to the header of its first scan."""
    place, kind = 2, 0
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data) and kind != _SOS:
        kind, size = data[place + 1], 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield kind, data[place : place + size]
        place += size


def _with_known_transform(segment: bytes, channels: int) -> bytes:
    """Return Adobe's segment of a JPEG with a colour transform that is defined: 0 for none, 1 for YCbCr, 2 for YCCK."""
    usual = 2 if channels == 4 else 1
    return segment if segment[15] in (0, usual) else segment[:15] + bytes([usual]) + segment[16:]


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

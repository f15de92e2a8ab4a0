"""Read the numbered tags of EXIF and IPTC: texts in each of their encodings, and what EXIF states about the capture."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import GPS, IFD
from PIL.ExifTags import Base as Tag

from hidascan.image.boxes import webp_chunks
from hidascan.image.provenance.texts import RAW_PROFILE, raw_profile
from hidascan.printable import printable

_XP_TAGS = (Tag.XPTitle, Tag.XPComment, Tag.XPAuthor, Tag.XPKeywords, Tag.XPSubject)
_CODES = (b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", b"\0" * 8)
_SAMPLE = 2000
_IPTC_MARK = 0x1C
_MAX_RECORDS = 1000
PHOTOSHOP, _RESOURCE = b"Photoshop 3.0\0", b"8BIM"
_EXIF = b"Exif\0\0"  # start of a block of EXIF
IPTC_RESOURCE = 0x0404  # number of the resource that holds IPTC
_MAX_STATED = 60  # characters of a statement on the capture
_UTF_8 = 129  # type of the texts of EXIF 3.0
_UNDEFINED = 7  # type of bytes
_TYPES = TiffImagePlugin.ImageFileDirectory_v2._load_dispatch


class _Directory(TiffImagePlugin.ImageFileDirectory_v2):
    """A directory that also loads UTF-8 texts (type 129), which Pillow skips.

    Pillow's own table of types remains as it is: pictures with such a tag could no longer be saved.
    """

    _load_dispatch = _TYPES | {_UTF_8: _TYPES[_UNDEFINED]}


def exif_texts(image: Image.Image, data: bytes) -> Iterator[tuple[int, str]]:
    """Yield (tag, text) of the main and the EXIF directory of a loaded image and its file; broken EXIF yields nothing."""
    for load in _blocks(image, data):
        yield from _texts_of(load)


def _blocks(image: Image.Image, data: bytes) -> Iterator[Callable[[], Image.Exif]]:
    """Yield a loader for each block of EXIF: the usual one, those that Pillow skips, and those of ImageMagick in PNG text."""
    yield image.getexif
    skipped = [body for name, body in getattr(image, "applist", ()) if name == "APP1"][1:]
    skipped += [] if "exif" in image.info else _in_webp(data)
    for body in skipped:
        if body.removeprefix(_EXIF).startswith((b"II*\0", b"MM\0*")):
            yield functools.partial(_loaded, body)
    for key, text in image.info.items():
        if isinstance(text, str) and str(key).startswith(RAW_PROFILE):
            profile = raw_profile(text.encode("latin-1", "replace"))
            if profile.startswith(_EXIF):
                yield functools.partial(_loaded, profile)


def _in_webp(data: bytes) -> Iterator[bytes]:
    """Yield the chunks of EXIF in a WebP, which Pillow skips if the header does not mention them; of others, nothing."""
    start = 12
    data = data if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else b""
    for kind, end in webp_chunks(data):
        if kind == b"EXIF":
            yield data[start + 8 : end]
        start = end + end % 2


def _loaded(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def _directories(exif: Image.Exif) -> list[ChainMap[int, Any]]:
    """Return the main and the EXIF directory."""
    main = ChainMap(_texts_in_utf_8(exif, getattr(exif._info, "_offset", None)), exif)
    inner = exif.get_ifd(IFD.Exif) if IFD.Exif in exif else {}
    return [main, ChainMap(_texts_in_utf_8(exif, exif.get(IFD.Exif)), inner)]


def _texts_in_utf_8(exif: Image.Exif, offset: Any) -> dict[int, str]:
    """Return the UTF-8 texts (type 129) of the directory at an offset; none without a directory."""
    if not isinstance(offset, int):
        return {}
    directory = _Directory(exif.head)
    exif.fp.seek(offset)
    directory.load(exif.fp)
    tags = (tag for tag, kind in directory.tagtype.items() if kind == _UTF_8)
    return {tag: directory._tagdata[tag].decode("utf-8", "replace") for tag in tags}


def _texts_of(load: Callable[[], Image.Exif]) -> Iterator[tuple[int, str]]:
    try:
        exif = load()
        little = exif.endian == "<"
        items = [item for directory in _directories(exif) for item in directory.items()]
    except Exception:  # Pillow raises almost any exception on broken EXIF
        return
    for tag, value in items:
        if tag == Tag.MakerNote and not isinstance(value, str):
            continue  # a proprietary block of cameras; a line of text in DALL-E 2
        if text := text_of_tag(tag, value, little).strip("\0 \r\n\t"):
            yield tag, text


def text_of_tag(tag: int, value: Any, little: bool) -> str:
    """Return the text of a tag: a text, bytes, or a list of them as numbers; "" for other values."""
    if isinstance(value, (tuple, list)) and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        value = bytes(value)
    if isinstance(value, str):
        if not value.startswith(("ASCII\0", "UNICODE\0", "JIS\0")):
            return _utf_8(value)
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return ""
    if tag in _XP_TAGS:
        return value.decode("utf-16-le", "replace")
    code = value[:8] if value[:8] in _CODES else b""
    body = value[len(code) :]
    if code == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace")
    if code == b"UNICODE\0" or (tag == Tag.UserComment and _looks_wide(body)):
        return _utf_16(body, little)
    return body.decode("utf-8", "replace")


def _utf_16(body: bytes, little: bool) -> str:
    """Decode UTF-16 of either byte order, as programs differ; some write UTF-8 instead."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    if not _looks_wide(body) and _is_utf_8(body):
        return body.decode("utf-8")
    orders = ("utf-16-le", "utf-16-be") if little else ("utf-16-be", "utf-16-le")
    return max((body.decode(order, "replace") for order in orders), key=_sense)  # the first one on a tie


def _sense(text: str) -> int:
    """Return the amount of ASCII in a text: almost none in the wrong byte order."""
    return sum("\x08" < c < "\x7f" for c in text[:_SAMPLE] + text[-_SAMPLE:])


def _looks_wide(body: bytes) -> bool:
    return b"\0" in body[:_SAMPLE] + body[-_SAMPLE:].rstrip(b"\0")


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _utf_8(text: str) -> str:
    """Repair UTF-8 that was decoded as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def iptc_records(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (dataset, value) of the application record, bare or in Photoshop resources."""
    block = block.removeprefix(PHOTOSHOP)
    if block.startswith(_RESOURCE):
        block = _resource(block)
    at = block.find(bytes([_IPTC_MARK]))
    for _ in range(_MAX_RECORDS):
        if at < 0 or at + 5 > len(block) or block[at] != _IPTC_MARK:
            return
        record, dataset, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # extended: these are the bytes of the size
            digits = size & 0x7FFF
            size, at = int.from_bytes(block[at : at + min(digits, 8)], "big"), at + digits
        if record == 2:
            yield dataset, block[at : at + size]
        at += size


def _resource(block: bytes) -> bytes:
    """Return the IPTC block in Photoshop resources."""
    at = 0
    for _ in range(_MAX_RECORDS):
        if block[at : at + 4] != _RESOURCE or at + 12 > len(block):
            return b""
        number, name = int.from_bytes(block[at + 4 : at + 6], "big"), block[at + 6]
        at += 7 + name + (name + 1) % 2  # name and length are padded to an even number of bytes
        size = int.from_bytes(block[at : at + 4], "big")
        if number == IPTC_RESOURCE:
            return block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return b""


@dataclass(frozen=True)
class Capture:
    """Camera, software, time taken and presence of a GPS position, by EXIF.

    Attributes:
        camera: Make and model of the camera; "" if not stated.
        software: Software that wrote the file; "" if not stated.
        taken: Time of the exposure, as stated, such as "2024:05:01 12:00:00+02:00"; "" if not stated.
        gps: Whether the file holds a position; the position itself is not read.
    """

    camera: str = ""
    software: str = ""
    taken: str = ""
    gps: bool = False


def capture_of(image: Image.Image, data: bytes, has_camera: bool) -> Capture | None:
    """Return camera, software, time and presence of a position from the EXIF of a loaded image; None without any.

    Args:
        image: Loaded image.
        data: Content of its file.
        has_camera: Whether Make and Model name a camera; some generators store their parameters there.
    """
    captures = (_capture_in(load, has_camera) for load in _blocks(image, data))
    return next((capture for capture in captures if capture != Capture()), None)


def _capture_in(load: Callable[[], Image.Exif], has_camera: bool) -> Capture:
    try:
        exif = load()
        main, inner = _directories(exif)
        position = exif.get_ifd(IFD.GPSInfo) if IFD.GPSInfo in exif else {}
        make, model = _stated(main.get(Tag.Make)), _stated(main.get(Tag.Model))
        camera = camera_name(make, model) if has_camera else ""
        taken, software = _stated(inner.get(Tag.DateTimeOriginal)), _stated(main.get(Tag.Software))
        return Capture(
            camera,
            "" if "{" in software else software,  # parameters of a generator
            taken and taken + _stated(inner.get(Tag.OffsetTimeOriginal)),
            position.keys() >= {GPS.GPSLatitude, GPS.GPSLongitude},
        )
    except Exception:  # Pillow raises almost any exception on broken EXIF
        return Capture()


def camera_name(make: str, model: str) -> str:
    """Return the name of a camera, without its brand twice."""
    brand = next(iter(make.lower().split()), "")
    return model if model and model.lower().startswith(brand) else f"{make} {model}".strip()


def _stated(value: Any) -> str:
    return printable(value.strip("\0 \r\n\t"))[:_MAX_STATED] if isinstance(value, str) else ""

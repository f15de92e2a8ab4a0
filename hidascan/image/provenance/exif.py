"""Read the text tags of EXIF, in each of its encodings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from PIL import Image

_EXIF_IFD = 0x8769
_USER_COMMENT, _MAKER_NOTE = 0x9286, 0x927C
_XP_TAGS = range(0x9C9B, 0x9CA0)
_CODES = (b"ASCII\0\0\0", b"UNICODE\0", b"JIS\0\0\0\0\0", b"\0" * 8)
_SAMPLE = 2000


def exif_texts(image: Image.Image, profiles: Iterable[bytes] = ()) -> Iterator[tuple[int, str]]:
    """Yield (tag, text) of the main and the EXIF directory; broken EXIF yields nothing.

    Args:
        image: Loaded image.
        profiles: Additional blocks of EXIF, such as those that ImageMagick stores in PNG text.
    """
    yield from _texts(image.getexif)
    for profile in profiles:
        yield from _texts(functools.partial(_loaded, profile))


def _loaded(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def _texts(load: Callable[[], Image.Exif]) -> Iterator[tuple[int, str]]:
    try:
        exif = load()
        little = exif.endian == "<"
        items = [*exif.items()]
        items += exif.get_ifd(_EXIF_IFD).items() if _EXIF_IFD in exif else ()
    except Exception:  # Pillow raises almost any exception on broken EXIF
        return
    for tag, value in items:
        if tag == _MAKER_NOTE and not isinstance(value, str):
            continue  # a proprietary block of cameras; a line of text in DALL-E 2
        if text := _text(tag, value, little).strip("\0 \r\n\t"):
            yield tag, text


def _text(tag: int, value: Any, little: bool) -> str:
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
    if code == b"UNICODE\0" or (tag == _USER_COMMENT and _looks_wide(body)):
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

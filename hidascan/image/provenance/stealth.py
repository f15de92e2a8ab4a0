"""Read parameters that NovelAI and A1111's "stealth pnginfo" hide in the lowest bits of pixels, column by column."""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

_LOSSLESS = ("PNG", "WEBP", "TIFF", "BMP", "GIF")
_MAGIC_BYTES, _LENGTH_BYTES, _MAX_BYTES = 15, 4, 1_000_000
_IS_PACKED = {b"stealth_pnginfo": False, b"stealth_pngcomp": True, b"stealth_rgbinfo": False, b"stealth_rgbcomp": True}


def read_stealth(image: Image.Image) -> tuple[str, str] | None:
    """Return the channels and the text of hidden parameters, "" if unreadable; None if there are none.

    Args:
        image: Image of any mode; only RGB and RGBA in lossless formats can hold hidden text.
    """
    modes = {"RGBA": ("alpha", "RGB"), "RGB": ("RGB",)} if image.format in _LOSSLESS else {}
    try:
        for channels in modes.get(image.mode, ()):
            magic = _hidden(image, channels, 0, _MAGIC_BYTES)
            if magic in _IS_PACKED:
                return channels, _text(image, channels, _IS_PACKED[magic])
    except (OSError, SyntaxError, ValueError):  # damaged pixels have no readable parameters
        return None
    return None


def _text(image: Image.Image, channels: str, packed: bool) -> str:
    head = _MAGIC_BYTES + _LENGTH_BYTES
    size = int.from_bytes(_hidden(image, channels, _MAGIC_BYTES, head), "big") // 8
    if size > _MAX_BYTES:
        return ""
    body = _hidden(image, channels, head, head + size)
    try:
        if packed:
            body = zlib.decompressobj(31).decompress(body, _MAX_BYTES)  # bounded, against decompression bombs
        return body.decode("utf-8", "replace")
    except zlib.error:
        return ""


def _hidden(image: Image.Image, channels: str, start: int, stop: int) -> bytes:
    """Return bytes `start` to `stop` of the lowest bits, read down each column, from left to right."""
    each = 1 if channels == "alpha" else 3
    columns = -(-stop * 8 // (each * image.height))
    if columns > image.width:
        return b""
    part = np.asarray(image.crop((0, 0, columns, image.height)))
    planes = part[..., 3:4] if channels == "alpha" else part[..., :3]
    bits = planes.swapaxes(0, 1).reshape(-1)[start * 8 : stop * 8] & 1
    return np.packbits(bits).tobytes()

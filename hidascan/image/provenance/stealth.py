"""Read what NovelAI and "stealth pnginfo" of A1111 hide in the lowest bits of the pixels, column by column."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
from PIL import Image

_MAGIC_BYTES, _LENGTH_BYTES, _MOST_BYTES = 15, 4, 1_000_000
_MAGICS = {b"stealth_pnginfo": False, b"stealth_pngcomp": True, b"stealth_rgbinfo": False, b"stealth_rgbcomp": True}


def read_stealth(image: Image.Image) -> tuple[str, str] | None:
    """Return the channels and the text of hidden parameters; None if there are none.

    Args:
        image: Loaded, of any mode; only RGB and RGBA can hold some.
    """
    found = [("alpha", "A")] if image.mode == "RGBA" else []
    found += [("RGB", "RGB")] if image.mode in ("RGB", "RGBA") else []
    for name, channels in found:
        magic = _hidden(image, channels, 0, _MAGIC_BYTES)
        if magic in _MAGICS:
            text = _text(image, channels, _MAGICS[magic])
            return (name, text) if text is not None else None
    return None


def _text(image: Image.Image, channels: str, packed: bool) -> str | None:
    head = _MAGIC_BYTES + _LENGTH_BYTES
    size = int.from_bytes(_hidden(image, channels, _MAGIC_BYTES, head), "big") // 8
    if size > _MOST_BYTES:
        return None
    body = _hidden(image, channels, head, head + size)
    try:
        if packed:
            body = zlib.decompressobj(31).decompress(body, _MOST_BYTES)  # bounded: a bomb must not fill the memory
        return body.decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile):
        return None


def _hidden(image: Image.Image, channels: str, start: int, stop: int) -> bytes:
    """Return the bytes from `start` to `stop` of the lowest bits, which run down each column, from left to right."""
    each = len(channels)
    columns = -(-stop * 8 // (each * image.height))
    if columns > image.width:
        return b""
    part = np.asarray(image.crop((0, 0, columns, image.height)))
    planes = part[..., 3:4] if channels == "A" else part[..., :3]
    bits = planes.swapaxes(0, 1).reshape(-1)[start * 8 : stop * 8] & 1
    return np.packbits(bits).tobytes()

"""Read the texts in a file: chunks of a PNG, blocks of a GIF, and parameters hidden in the lowest bits of pixels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image

from hidascan.image.boxes import png_chunks

RAW_PROFILE = "Raw profile type "  # start of the keywords under which ImageMagick stores other metadata
_PILLOW, _PILLOW_TOGETHER = 1 << 20, 1 << 25  # unpacked bytes of one text and of all, below Pillow's limits
_MAX_RATIO = 1032  # largest ratio of Deflate
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"comf")  # the last is that of ComfyUI's node for animated PNGs, like tEXt
_PACKED = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks whose size Pillow limits
_MAX_CHUNKS, _MAX_TEXTS, _MAX_PNG_BYTES = 1_000_000, 500, 8_000_000  # bytes of all texts together, unpacked
_GIF_HEADER_BYTES, _EXTENSION, _FRAME, _COMMENT, _APPLICATION = 13, 0x21, 0x2C, 0xFE, 0xFF
_XMP = b"\x0bXMP DataXMP"
_XMP_TRAILER = b"\x01\xff\xfe\xfd"
_MAX_BLOCKS, _MAX_GIF_BYTES = 200_000, 4_000_000
_LOSSLESS = ("PNG", "WEBP", "TIFF", "BMP", "GIF")
_MAGIC_BYTES, _LENGTH_BYTES, _MAX_HIDDEN_BYTES = 15, 4, 1_000_000
_IS_PACKED = {b"stealth_pnginfo": False, b"stealth_pngcomp": True, b"stealth_rgbinfo": False, b"stealth_rgbcomp": True}


def png_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (keyword, content) of each text chunk; content in UTF-8.

    Pillow keeps only the last chunk of a keyword, and rejects files with long texts.
    """
    left = _MAX_PNG_BYTES
    for number, (kind, at, size) in enumerate(_text_chunks(data)):
        if number >= _MAX_TEXTS or left <= 0:
            return
        key, _, rest = data[at + 8 : at + 8 + min(size, _MAX_PNG_BYTES)].partition(b"\0")
        content = _content(kind, rest, left)
        left -= len(content)
        yield key[:80].decode("latin-1"), content


def without_long_texts(data: bytes) -> bytes:
    """Return a file without texts and colour profiles that are too long for Pillow, which would reject the file."""
    if sum(_MAX_RATIO * size for _, _, size in _text_chunks(data, _PACKED)) <= _PILLOW:
        return data
    kept, start, left = [], 0, _PILLOW_TOGETHER
    for kind, at, size in _text_chunks(data, _PACKED):
        body = data[at + 8 : at + 8 + size]
        unpacked = len(_content(kind, body.partition(b"\0")[2], _PILLOW + 1)) if left > 0 else 0
        if unpacked > _PILLOW or left <= 0:
            kept.append(data[start:at])
            start = at + 12 + size
        left -= unpacked
    return b"".join((*kept, data[start:]))


def _text_chunks(data: bytes, kinds: tuple[bytes, ...] = _TEXTS) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, offset, size) of each text chunk, or of each chunk of some kinds."""
    yield from (chunk for chunk in islice(png_chunks(data), _MAX_CHUNKS) if chunk[0] in kinds)


def _content(kind: bytes, rest: bytes, max_bytes: int) -> bytes:
    packed = kind in (b"zTXt", b"iCCP")
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


def raw_profile(text: bytes) -> bytes:
    """Decode a raw profile of ImageMagick: a name, a length, and hexadecimal bytes."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""


def gif_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield ("comment", text) and ("xmp", packet); stop at damage."""
    try:
        yield from _extensions(data)
    except IndexError:
        return


def _extensions(data: bytes) -> Iterator[tuple[str, bytes]]:
    at, left = _GIF_HEADER_BYTES + _palette_bytes(data[10]), _MAX_BLOCKS
    while left > 0 and data[at] in (_EXTENSION, _FRAME):
        start = at + 11 + _palette_bytes(data[at + 9]) if data[at] == _FRAME else at + 2
        end, blocks = _end_of_blocks(data, start, left)
        if data[at] == _EXTENSION and data[at + 1] == _COMMENT:
            yield "comment", b"".join(_blocks(data, start))[:_MAX_GIF_BYTES]
        elif data[at] == _EXTENSION and data[at + 1] == _APPLICATION and data.startswith(_XMP, start):
            yield "xmp", _xmp_packet(data, start + len(_XMP), end)
        at, left = end, left - blocks


def _xmp_packet(data: bytes, start: int, end: int) -> bytes:
    """Return an XMP packet; it is not in sub-blocks, as its trailer marks the end, but c2pa-rs splits it all the same."""
    end = min(end, start + _MAX_GIF_BYTES)
    packet = data[start:end] if data.startswith(b"<", start) else b"".join(_blocks(data[:end] + b"\0", start))
    return packet.partition(_XMP_TRAILER)[0]


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
                return channels, _hidden_text(image, channels, _IS_PACKED[magic])
    except (OSError, SyntaxError, ValueError):  # damaged pixels have no readable parameters
        return None
    return None


def _hidden_text(image: Image.Image, channels: str, packed: bool) -> str:
    head = _MAGIC_BYTES + _LENGTH_BYTES
    size = int.from_bytes(_hidden(image, channels, _MAGIC_BYTES, head), "big") // 8
    if size > _MAX_HIDDEN_BYTES:
        return ""
    body = _hidden(image, channels, head, head + size)
    try:
        if packed:
            body = zlib.decompressobj(31).decompress(body, _MAX_HIDDEN_BYTES)  # bounded, against decompression bombs
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

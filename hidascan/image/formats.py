"""The file formats that hidascan reads, and kinds of files by their first bytes."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

LARGEST_FILE = 4 << 30  # bytes; the limit of most formats
TOO_LARGE = f"larger than {LARGEST_FILE >> 30} GiB"
EXPORT = "export it as PNG, TIFF or JPEG first"  # advice on files in other formats


class FileFormat(NamedTuple):
    """One file format.

    Attributes:
        name: Pillow's name. No other formats are opened, for any suffix: Pillow would pass an EPS to Ghostscript.
        suffixes: Suffixes of files that are scanned in folders, in lower case.
        mime: MIME type in C2PA; "" for a format that cannot hold a manifest.
    """

    name: str
    suffixes: tuple[str, ...]
    mime: str = ""


FORMATS = (
    FileFormat("PNG", (".png", ".apng"), "image/png"),
    FileFormat(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".jps", ".insp", ".pjpeg", ".pjp"), "image/jpeg"
    ),
    FileFormat("MPO", (".mpo",), "image/jpeg"),
    FileFormat("WEBP", (".webp",), "image/webp"),
    FileFormat("TIFF", (".tif", ".tiff"), "image/tiff"),
    FileFormat("GIF", (".gif",), "image/gif"),
    FileFormat("BMP", (".bmp",)),
    FileFormat("DIB", (".dib",)),
    FileFormat("HEIF", (".heic", ".heif", ".hif"), "image/heif"),
    FileFormat("AVIF", (".avif",), "image/avif"),
)


def pillow_names() -> list[str]:
    """Return the format names that Pillow may open; it opens MPO as JPEG."""
    return [row.name for row in FORMATS if row.name != "MPO"]


def suffixes() -> frozenset[str]:
    """Return the suffixes of all formats, in lower case."""
    return frozenset(suffix for row in FORMATS for suffix in row.suffixes)


def mime_type(name: str) -> str:
    """Return the MIME type of a format in C2PA; "" if C2PA does not support it."""
    return next((row.mime for row in FORMATS if row.name == name), "")


class _Head(NamedTuple):
    start: bytes  # pattern of the first bytes of a file
    kind: str  # name of the kind, with its article
    readable: bool = False  # whether it is a format of FORMATS


_HEADS = (
    _Head(rb"\xff\xd8\xff", "a JPEG image", True),
    _Head(rb"\x89PNG\r\n\x1a\n", "a PNG image", True),
    _Head(rb"RIFF....WEBP", "a WebP image", True),
    _Head(rb"II[*+]\0|MM\0[*+]", "a TIFF image", True),
    _Head(rb"GIF8[79]a", "a GIF image", True),
    _Head(rb"BM....\0\0\0\0", "a BMP image", True),
    _Head(rb"\0...ftypavi", "an AVIF image", True),
    _Head(rb"\0...ftyp(?:he|mif|msf)", "a HEIF image", True),
    _Head(rb"\0...ftypcrx", "a Canon raw image"),
    _Head(rb"\0...ftyp(?:M4A|M4B|F4A)", "a sound file (M4A)"),
    _Head(rb"\0...ftyp", "a video"),
    _Head(rb"\0\0\0\x0cJXL |\xff\n", "a JPEG XL image"),
    _Head(rb"\0\0\0\x0cjP  |\xffO\xffQ", "a JPEG 2000 image"),
    _Head(rb"8BPS\0", "a Photoshop image"),
    _Head(rb"v/1\x01", "an OpenEXR image"),
    _Head(rb"\0\0\x01\0", "an icon"),
    _Head(rb"\0\x05\x16\x07", "an AppleDouble file"),
    _Head(rb"%PDF-", "a PDF"),
    _Head(rb"%!PS-", "a PostScript file"),
    _Head(rb"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    _Head(rb"\xd0\xcf\x11\xe0", "a file of Microsoft Office"),
    _Head(rb"Rar!\x1a\x07", "a RAR archive"),
    _Head(rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    _Head(rb"\x1f\x8b|BZh91AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "a compressed file"),
    _Head(rb"PAR1", "a Parquet table"),
    _Head(rb"SQLite format 3\0", "an SQLite database"),
    _Head(rb"\x7fELF|MZ\x90\0", "a program"),
)
READABLE_KINDS = frozenset(head.kind for head in _HEADS if head.readable)


def kind_from_head(head: bytes) -> str:
    """Return the kind of a file by its first bytes, such as "a JPEG image"; "" for text and unknown kinds."""
    match = _head_pattern().match(head)
    return _HEADS[int((match.lastgroup or "_0")[1:])].kind if match else ""


@functools.cache  # compiled on first use, so that `hidascan --help` is fast
def _head_pattern() -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?P<_%d>%s)" % (at, head.start) for at, head in enumerate(_HEADS)), re.DOTALL)

"""The file formats that hidascan reads: one row each."""

from __future__ import annotations

from typing import NamedTuple


class FileFormat(NamedTuple):
    """One format.

    Attributes:
        name: What Pillow calls it. No others are opened, whatever a file's name ends in: Pillow would hand an EPS to
            Ghostscript.
        suffixes: By which files in folders are found, in lower case.
        mime: Under which C2PA knows it; "" where a file of it cannot hold a manifest.
    """

    name: str
    suffixes: tuple[str, ...]
    mime: str = ""


FORMATS = (
    FileFormat("PNG", (".png", ".apng"), "image/png"),
    FileFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "image/jpeg"),
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
    """Return the names that Pillow may open; it opens an MPO as a JPEG."""
    return [row.name for row in FORMATS if row.name != "MPO"]


def suffixes() -> frozenset[str]:
    """Return the suffixes of all formats, in lower case."""
    return frozenset(suffix for row in FORMATS for suffix in row.suffixes)


def mime_type(name: str) -> str:
    """Return the MIME type under which C2PA knows a format; "" where it does not."""
    return next((row.mime for row in FORMATS if row.name == name), "")

"""Recognise TIFFs that Pillow would misread, and those with missing or corrupt strips or tiles."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImagePalette
from PIL.ExifTags import Base as Tag

from hidascan.errors import ImageError
from hidascan.image.formats import EXPORT
from hidascan.image.jpeg_layout import EOI, SOI
from hidascan.image.jpeg_scan import is_intact
from hidascan.notes import DAMAGED_IMAGE

_SEPARATE, _WEBP, _DEFLATE, _JPEG = 2, 50001, (8, 32946), 7  # values of Tag.PlanarConfiguration and Tag.Compression
_UNSIGNED, _SIGNED = 1, 2  # values of Tag.SampleFormat
_YCBCR = 6  # value of Tag.PhotometricInterpretation
_SWAPPED = ("F;32BF", "I;32B", "I;32BS")  # raw modes of big-endian values; libtiff returns them in native order
_MAX_BLOCK = 32  # pixels by which the JPEG of a strip or tile may exceed it
_STEP = 1 << 16  # bytes of Deflate data inflated at a time


def tags_of(image: Image.Image) -> Any:
    """Return the tags of a TIFF by number, which may be changed before loading; of other formats, none."""
    return getattr(image, "tag_v2", {})


def corrected(image: Image.Image) -> Image.Image:
    """Make Pillow read a TIFF as other programs do, where it would misread planes or the palette.

    Call it after any change of frames, which reads the tags again.
    """
    tags = tags_of(image)
    if _is_separate(tags) and tags.get(Tag.SamplesPerPixel, 1) == 1:  # Pillow would use only a letter of the raw mode
        tags[Tag.PlanarConfiguration] = 1
        image._setup()  # type: ignore[attr-defined]
    if image.mode in ("P", "PA") and (colours := tags.get(Tag.ColorMap)) and max(colours) < 256:  # 8 instead of 16 bits
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
    return image


def check_tiff(image: Image.Image) -> None:
    """Check a TIFF before it is loaded.

    Raises:
        ImageError: If strips or tiles are missing, or Pillow would misread its planes, values or colours.
    """
    tags = tags_of(image)
    if tags.get(Tag.Compression) == _WEBP:
        raise ImageError(f"this TIFF has WebP compression, which is not supported: {EXPORT}")
    if _SIGNED in tags.get(Tag.SampleFormat, ()) and max(tags.get(Tag.BitsPerSample, (1,))) < 32:
        raise ImageError(f"this TIFF has signed values, which are not supported: {EXPORT}")
    if 0 in (*tags.get(Tag.StripOffsets, ()), *tags.get(Tag.TileOffsets, ())):
        raise ImageError(f"{DAMAGED_IMAGE}strips or tiles of this TIFF are missing")
    if _is_separate(tags) and _misreads_planes(image):
        raise ImageError(f"this TIFF has its channels in separate planes, which is not supported: {EXPORT}")
    if _swaps_bytes_twice(image):
        raise ImageError(f"this TIFF has compressed big-endian values of 32 bits, which are not supported: {EXPORT}")
    if _has_fewer_colours_than_pixels(image):
        raise ImageError(f"this TIFF has subsampled colours without compression, which are not supported: {EXPORT}")


def lacks_strips(image: Image.Image) -> bool:
    """Return whether a TIFF lists fewer strips than its height needs."""
    tags = tags_of(image)
    rows, strips = tags.get(Tag.RowsPerStrip), len(tags.get(Tag.StripOffsets, ()))
    planes = tags.get(Tag.SamplesPerPixel, 1) if _is_separate(tags) else 1
    return isinstance(rows, int) and 0 < strips < -(-tags[Tag.ImageLength] // max(1, rows)) * planes


def is_unsigned(tags: Any) -> bool:
    """Return whether the values are unsigned integers, as they are by default."""
    return bool(tags.get(Tag.SampleFormat, (_UNSIGNED,)) == (_UNSIGNED,))


def intact_rows(image: Image.Image, data: bytes) -> np.ndarray:
    """Return (H,) bool: False for rows whose Deflate or JPEG data are corrupt, which libtiff decodes without an error.

    Call it before loading. All rows are intact in other files; none in a damaged file whose picture is turned.
    """
    tags = tags_of(image)
    is_whole = _checker(tags)
    if is_whole is None or tags.get(Tag.FillOrder, 1) != 1:  # the bits of bytes may be reversed
        return np.ones(image.height, bool)
    whole = np.ones(tags[Tag.ImageLength], bool)
    rows, across, offsets, sizes = _parts_of(tags)
    in_plane = -(-len(whole) // rows) * across
    for number, (start, size) in enumerate(zip(offsets, sizes, strict=False)):
        if not is_whole(memoryview(data)[start : start + size]):
            top = number % in_plane // across * rows
            whole[top : top + rows] = False
    turned = tags.get(Tag.Orientation, 1) != 1
    return whole & whole.all() if turned else whole


def _checker(tags: Any) -> Callable[[memoryview], bool] | None:
    """Return a function that tells whether a strip or tile is intact; None for a compression that is not checked."""
    if tags.get(Tag.Compression) in _DEFLATE:
        return _inflates
    if tags.get(Tag.Compression) == _JPEG:
        tables = _tables_of(tags)
        pixels = (tags.get(Tag.TileWidth, tags[Tag.ImageWidth]) + _MAX_BLOCK) * (_parts_of(tags)[0] + _MAX_BLOCK)
        return lambda strip: is_intact(tables + bytes(strip[len(SOI) if tables else 0 :]), pixels)
    return None


def _tables_of(tags: Any) -> bytes:
    """Return the start of a JPEG stream with the tables that all strips share, which a strip continues; b"" if none."""
    tables = tags.get(Tag.JPEGTables)
    if not isinstance(tables, bytes):
        return b""
    start, found, rest = tables.rpartition(EOI)
    return start if found and not rest.strip(b"\0") else tables


def _parts_of(tags: Any) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    """Return the rows of a strip or tile, how many lie side by side, and the offsets and sizes of all, bytes."""
    if Tag.TileOffsets in tags:
        across = -(-tags[Tag.ImageWidth] // max(1, tags[Tag.TileWidth]))
        return max(1, tags[Tag.TileLength]), across, tags[Tag.TileOffsets], tags.get(Tag.TileByteCounts, ())
    rows = min(tags.get(Tag.RowsPerStrip, tags[Tag.ImageLength]), tags[Tag.ImageLength])
    return max(1, rows), 1, tags.get(Tag.StripOffsets, ()), tags.get(Tag.StripByteCounts, ())


def _inflates(data: memoryview) -> bool:
    """Return whether Deflate data are complete and have the right checksum."""
    inflater, place = zlib.decompressobj(), 0
    while place < len(data) and not inflater.eof:
        try:
            inflater.decompress(data[place : place + _STEP])
        except zlib.error:
            return False
        place += _STEP
    return inflater.eof


def _raw_mode(image: Image.Image, decoder: str) -> str:
    """Return the raw mode of a TIFF that Pillow reads by a decoder; "" if by another."""
    tiles: Any = getattr(image, "tile", [])
    if not tiles or tiles[0][0] != decoder:
        return ""
    mode = tiles[0][3]
    return str(mode[0] if isinstance(mode, tuple) else mode)


def _swaps_bytes_twice(image: Image.Image) -> bool:
    """Return whether both libtiff and Pillow swap the bytes of each value."""
    return _raw_mode(image, "libtiff") in _SWAPPED


def _has_fewer_colours_than_pixels(image: Image.Image) -> bool:
    """Return whether several pixels share a colour without compression, which Pillow reads as three values each."""
    tags = tags_of(image)
    if (
        tags.get(Tag.PhotometricInterpretation) != _YCBCR
        or not _raw_mode(image, "raw")
        or tags.get(Tag.YCbCrSubSampling) == (1, 1)
    ):
        return False
    size = sum(tags.get(Tag.StripByteCounts, ())) + sum(tags.get(Tag.TileByteCounts, ()))
    return bool(size < 3 * image.width * image.height)  # files by careless programs only lack the tag


def _is_separate(tags: Any) -> bool:
    """Return whether the channels are in separate planes."""
    return bool(tags.get(Tag.PlanarConfiguration) == _SEPARATE)


def _misreads_planes(image: Image.Image) -> bool:
    """Return whether Pillow misreads separate planes: it takes one letter of its raw mode for each."""
    bands, tiles = len(image.getbands()), getattr(image, "tile", [])
    raw = bool(tiles) and tiles[0][0] == "raw"
    unusual = max(tags_of(image).get(Tag.BitsPerSample, (8,))) > 8 or image.mode not in ("RGB", "RGBA", "CMYK")
    return bands > 1 and (image.mode in ("LAB", "LA") or (raw and unusual))

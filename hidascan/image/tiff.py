"""Recognise TIFFs whose pixels Pillow would misread, or that lack some."""

from __future__ import annotations

from typing import Any

from PIL import Image

from hidascan.errors import ImageError
from hidascan.image.signatures import EXPORT

BITS, PHOTOMETRIC = 258, 262  # tags
_HEIGHT, _STRIP_OFFSETS, _CHANNELS, _ROWS_PER_STRIP, _PLANES, _TILE_OFFSETS = 257, 273, 277, 278, 284, 324  # tags
_COMPRESSION, _SAMPLE_FORMAT = 259, 339  # tags
_SEPARATE, _WEBP, _SIGNED = 2, 50001, 2  # values of _PLANES, _COMPRESSION and _SAMPLE_FORMAT


def tags_of(image: Image.Image) -> Any:
    """Return the tags of a TIFF by number, which may be changed before loading; of other formats, none."""
    return getattr(image, "tag_v2", {})


def in_one_plane(image: Image.Image) -> Image.Image:
    """Let Pillow read a TIFF with a single plane; of separate planes, it reads only the first letter of a raw mode.

    Call it after any change of frames, which reads the tags again.
    """
    tags = tags_of(image)
    if _is_separate(tags) and tags.get(_CHANNELS, 1) == 1:
        tags[_PLANES] = 1
        image._setup()  # type: ignore[attr-defined]
    return image


def check_tiff(image: Image.Image) -> None:
    """Check a TIFF before it is loaded.

    Raises:
        ImageError: If strips or tiles are missing, or Pillow would misread its planes or values.
    """
    tags = tags_of(image)
    if tags.get(_COMPRESSION) == _WEBP:
        raise ImageError(f"this TIFF has WebP compression, which is not supported: {EXPORT}")
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) and max(tags.get(BITS, (1,))) < 32:
        raise ImageError(f"this TIFF has signed values, which are not supported: {EXPORT}")
    if 0 in (*tags.get(_STRIP_OFFSETS, ()), *tags.get(_TILE_OFFSETS, ())):
        raise ImageError("damaged image: strips or tiles of this TIFF are missing")
    if _is_separate(tags) and _misreads_planes(image):
        raise ImageError(f"this TIFF has its channels in separate planes, which is not supported: {EXPORT}")


def lacks_strips(image: Image.Image) -> bool:
    """Return whether a TIFF lists fewer strips than its height needs."""
    tags = tags_of(image)
    rows, strips = tags.get(_ROWS_PER_STRIP), len(tags.get(_STRIP_OFFSETS, ()))
    planes = tags.get(_CHANNELS, 1) if _is_separate(tags) else 1
    return isinstance(rows, int) and 0 < strips < -(-tags[_HEIGHT] // max(1, rows)) * planes


def _is_separate(tags: Any) -> bool:
    """Return whether the channels are in separate planes."""
    return bool(tags.get(_PLANES) == _SEPARATE)


def _misreads_planes(image: Image.Image) -> bool:
    """Return whether Pillow misreads separate planes: it takes one letter of its raw mode for each."""
    bands, tiles = len(image.getbands()), getattr(image, "tile", [])
    raw = bool(tiles) and tiles[0][0] == "raw"
    unusual = max(tags_of(image).get(BITS, (8,))) > 8 or image.mode not in ("RGB", "RGBA", "CMYK")
    return bands > 1 and (image.mode in ("LAB", "LA") or (raw and unusual))

"""Convert a picture of any of Pillow's modes into 8-bit RGB."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from hidascan.errors import ImageError
from hidascan.image import tiff
from hidascan.image.formats import EXPORT

SCALED = "more than 8 bits per channel, scaled to 8"  # a note
_STRIP = 1 << 20  # pixels converted at a time
_MAX_UNIT = 16.0  # maximum of floating values on a scale from 0 to 1, with highlights
_NO_DATA = 1e30  # floating values from here on mark pixels without data
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")


class GreyScale(NamedTuple):
    """The scale of grey values.

    Attributes:
        maximum: Largest possible value of integers.
        inverted: True if 0 is white.
        unsigned: True if integers have no sign; Pillow shows large ones of 32 bits as negative.
    """

    maximum: float
    inverted: bool
    unsigned: bool


def mend_transparency(image: Image.Image, data: bytes) -> None:
    """Correct the transparent colour of a PNG: Pillow keeps only its low byte, and does not scale one of 2 or 4 bits."""
    colour = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(colour, (int, tuple)):
        return
    depth, grey = data[24], data[25] == 0
    if depth == 16:
        del image.info["transparency"]
    elif grey and depth in (2, 4):
        image.info["transparency"] = colour * (255 // ((1 << depth) - 1))


def grey_scale_of(image: Image.Image) -> GreyScale:
    """Return the scale of the grey values of an image; Pillow inverts those of 8 bits where 0 is white."""
    tags = tiff.tags_of(image)
    maximum = 4095.0 if tags.get(Tag.BitsPerSample) == (12,) else 65535.0
    return GreyScale(maximum, tags.get(Tag.PhotometricInterpretation) == 0, tiff.is_unsigned(tags))


def to_rgb(image: Image.Image, notes: list[str], grey: GreyScale) -> np.ndarray:
    """Convert any Pillow mode to (H, W, 3) uint8, strip by strip, with a single copy besides Pillow's."""
    if image.mode in _DEEP_GREY or image.mode in ("I", "F"):
        if SCALED not in notes:
            notes.append(SCALED)
        return np.repeat(_deep_grey_to_8_bits(image, grey)[..., None], 3, axis=2)
    pixels, seen_through = np.empty((image.height, image.width, 3), np.uint8), False
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.has_transparency_data:
            strip = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")  # La converts to LA only
            extrema: Any = strip.getextrema()
            seen_through |= extrema[3][0] < 255
            white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
            white.alpha_composite(strip)
            strip = white
        pixels[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    if seen_through:
        notes.append("transparency rendered on white")
    return pixels


def _deep_grey_to_8_bits(image: Image.Image, grey: GreyScale) -> np.ndarray:
    """Scale grey values to (H, W) uint8: integers by their range, wider or floating values by their maximum.

    Raises:
        ImageError: For negative integers.
    """
    stored = np.asarray(image)
    if image.mode == "I" and grey.unsigned:
        stored = stored.view(np.uint32)
    values = stored.astype(np.float32)
    if image.mode == "I" and values.min() < 0:
        raise ImageError(f"this TIFF has signed values, which are not supported: {EXPORT}")
    if image.mode in _DEEP_GREY or (image.mode == "I" and values.max() > 255):
        values = values * (255.0 / (grey.maximum if values.max() <= grey.maximum else values.max()))
    elif image.mode == "F":
        values = np.where(np.isfinite(values) & (np.abs(values) < _NO_DATA), values, 0)
        most = float(values.max())  # up to _MAX_UNIT: values of 0..1 with highlights
        values = values * (255.0 / (max(most, 1.0) if most <= _MAX_UNIT else max(most, 255.0)))
    if grey.inverted:
        values = 255.0 - values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def is_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Return whether an image has colour of more than 8 bits, of which Pillow keeps the high ones."""
    if image.format == "AVIF":
        settings = data.partition(b"av1C")[2]
        return len(settings) > 2 and bool(settings[2] & 0x40)  # high_bitdepth
    if image.info.get("bit_depth", 8) > 8:  # HEIC
        return True
    tiles: Any = getattr(image, "tile", [])
    raw_modes = [tile[3][0] if isinstance(tile[3], tuple) else tile[3] for tile in tiles]
    return image.mode.startswith(("RGB", "LA", "CMYK")) and any(
        "16" in str(mode) and not str(mode).startswith("BGR") for mode in raw_modes
    )

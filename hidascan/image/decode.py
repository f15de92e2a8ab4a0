"""Decode a file of any supported format into RGB pixels, within limits."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pillow_heif
from PIL import Image, ImageFile, UnidentifiedImageError

from hidascan.errors import ImageError, reason_of
from hidascan.geometry import PATCH
from hidascan.image.damage import Rows, note_of, partly_loaded, unreadable_reason, zeroed_pixels
from hidascan.image.formats import LARGEST_FILE, pillow_names
from hidascan.image.jpeg_history import JpegSave, JpegTrace, jpeg_trace, read_save
from hidascan.image.jpeg_scan import decode_jpeg
from hidascan.image.png_scan import PngFile
from hidascan.image.provenance.c2pa import read_manifest, sidecar_of
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.claims import read_claims
from hidascan.image.provenance.fields import fields_of
from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.tags import Capture, capture_of
from hidascan.image.provenance.texts import without_long_texts
from hidascan.image.signatures import EXPORT, describe, raw_photo, without_padding
from hidascan.options import MAX_PIXELS

pillow_heif.register_heif_opener()
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # replaced by our own limit, which is an error and not a warning

_ORIENTATION_TAG = 0x0112
_STRIP = 1 << 20  # pixels converted at a time
_SCALED = "more than 8 bits per channel, scaled to 8"
_HEIGHT, _BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _CHANNELS, _ROWS_PER_STRIP = 257, 258, 262, 273, 277, 278  # tags of TIFF
_PLANES, _TILE_OFFSETS, _SEPARATE = 284, 324, 2  # tags of TIFF; the value for separate planes
_MAX_UNIT = 16.0  # maximum of floating values on a scale from 0 to 1, with highlights
_NO_DATA = 1e30  # floating values from here on mark pixels without data
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class DecodedImage:
    """The stored pixels of one image, and the metadata of its container.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, read-only, before EXIF rotation, which would move the JPEG grid.
        format: Pillow's name of the format.
        orientation: EXIF orientation 1..8; 1 is as stored.
        jpeg: JPEG settings of the last save, from the header; None for other formats.
        trace: Trace of an earlier JPEG save in the pixels; None without any, or if not searched for.
        claims: Claims of origin in the metadata, the strongest first.
        manifest: C2PA manifest, from the file or a sidecar.
        capture: Statements of EXIF on the taking of the picture; None without any.
        notes: Notes for the reader: first frame only, transparency rendered on white, 16 bits scaled.
    """

    pixels: np.ndarray
    format: str
    orientation: int = 1
    jpeg: JpegSave | None = None
    trace: JpegTrace | None = None
    claims: tuple[Claim, ...] = ()
    manifest: Manifest | None = None
    capture: Capture | None = None
    notes: tuple[str, ...] = ()


def decode(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    before_load: Callable[[int], None] = lambda pixels: None,
    trust: str | None = None,
    traced: bool = False,
) -> DecodedImage:
    """Read an image file.

    Takes the first frame of an animation, renders transparency on white (except a transparent colour of 16-bit PNGs),
    scales 16 bits to 8, and ignores ICC profiles. The formats are those of `image.formats`.

    Args:
        path: Path of the file.
        max_pixels: Maximum number of pixels.
        before_load: Callback that gets the number of pixels before they take memory; may block.
        trust: File of certificates that are trusted as signers of C2PA manifests.
        traced: Whether to search the pixels for the trace of an earlier save, which takes 10 ms.

    Raises:
        ImageError: If the file cannot be read; the message is the reason.
    """
    data, skipped = without_padding(_read_file(Path(path)))
    if not data:
        raise ImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if raw := raw_photo(data):
                raise ImageError(raw)
            readable, rows, damage = _repaired(without_long_texts(data), max_pixels, before_load)
            with Image.open(io.BytesIO(readable), formats=pillow_names()) as image:
                admit = before_load if rows is None else lambda pixels: None  # it was called before the repair
                decoded = _decode_opened(image, readable, max_pixels, admit)
                fields = fields_of(image, data)  # after loading, as a PNG may have text after its pixels
                manifest, manifest_notes = read_manifest(data, decoded.format, sidecar_of(Path(path)), trust, fields)
                pixels = decoded.pixels if rows is None else decoded.pixels[rows.top : rows.bottom]
                claims = read_claims(image, fields, manifest)
                has_camera = any((claim.kind, claim.source) == ("camera", "exif") for claim in claims)
                return replace(
                    decoded,
                    pixels=pixels,
                    claims=claims,
                    manifest=manifest,
                    capture=capture_of(image, has_camera),
                    notes=(*skipped, *damage, *decoded.notes, *manifest_notes),
                    trace=jpeg_trace(pixels) if traced else None,
                )
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(describe(data)) from None
    except MemoryError:
        raise ImageError("not enough memory for an image of this size") from None
    except Exception as error:  # decoders raise almost any exception on broken data
        raise ImageError(unreadable_reason(data, error)) from error


def _repaired(
    data: bytes, max_pixels: int, before_load: Callable[[int], None]
) -> tuple[bytes, Rows | None, tuple[str, ...]]:
    """Repair a damaged PNG: Pillow rejects most damage, and misses damage of pixels.

    Returns:
        The content of the file; its intact rows, None if no repair was needed; notes.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data, None, ()
    if data[12:16] == b"CgBI":
        raise ImageError("this is an Apple PNG (CgBI), an unsupported format: export it as PNG, TIFF or JPEG first")
    file = PngFile.read(data)
    if file.lacks_palette:
        raise ImageError("damaged image: the palette of this PNG file is missing")
    if file.sound:
        return data, None, ()
    _check_size(*file.size, max_pixels)
    before_load(_pixels_in_memory(*file.size, max_pixels))
    repaired = file.repair()
    return repaired.data, repaired.rows, (repaired.note,)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"{width}x{height} exceeds the limit of {max_pixels / 1e6:.0f} megapixels")
    if not width * height:
        raise ImageError("the image has no pixels")


def _pixels_in_memory(width: int, height: int, max_pixels: int) -> int:
    """Return the number of pixels, with those that padding adds to a short side, up to the limit of a later refusal."""
    return min(max(width, PATCH) * max(height, PATCH), max_pixels)


def _read_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("this is a folder")
        if not stat.S_ISREG(mode):
            raise ImageError("not a regular file")
        if path.stat().st_size > LARGEST_FILE:
            raise ImageError(f"larger than {LARGEST_FILE >> 30} GiB")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(reason_of(error)) from None
    except ValueError as error:  # a NUL in the name
        raise ImageError(str(error)) from None


def _decode_opened(
    image: Image.Image, data: bytes, max_pixels: int, before_load: Callable[[int], None]
) -> DecodedImage:
    _check_size(*image.size, max_pixels)
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    if tags.get(_PLANES) == _SEPARATE and tags.get(_CHANNELS, 1) == 1:
        tags[_PLANES] = 1  # of one channel; otherwise Pillow reads only the first letter of its raw mode
        image._setup()  # type: ignore[attr-defined]
    notes = [*_frames(image), *filter(None, [zeroed_pixels(data, image.format or "", image.width * image.height)])]
    saved = read_save(getattr(image, "quantization", None) or {}, getattr(image, "layer", []))
    format_name = image.format or "unknown"
    before_load(_pixels_in_memory(*image.size, max_pixels))
    if _is_deep_colour(image, data):
        notes.append(_SCALED)
    if format_name in ("JPEG", "MPO"):
        pixels, damage = decode_jpeg(data, image.mode)
        notes.extend(damage)
    else:
        pixels = _loaded_pixels(image, data, notes)
    pixels.flags.writeable = False
    orientation = _orientation(image)  # after loading, as the decoders of TIFF and HEIC rotate and reset it
    return DecodedImage(pixels, format_name, orientation, saved, notes=tuple(notes))


def _frames(image: Image.Image) -> Iterator[str]:
    """Yield a note on the selected picture of a file with several."""
    if image.format == "MPO":  # a JPEG whose other frames are previews or the other eye: no animation
        return
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the first frame may still be intact
        yield "only the first of several frames scanned; the others are damaged"
        return
    tiles: Any = getattr(image, "tile", [])
    if image.format == "GIF" and tiles and tuple(tiles[0][1]) != (0, 0, *image.size):
        yield "the first frame covers only a part of the picture"
    if frames > 1 and image.format == "HEIF":
        yield f"only the main one of {frames} pictures in the file scanned"
    elif frames > 1:
        yield f"only the first of {frames} frames scanned"


def _loaded_pixels(image: Image.Image, data: bytes, notes: list[str]) -> np.ndarray:
    """Decode by Pillow; of a damaged file, only the intact rows."""
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        if 0 in (*tags.get(_STRIP_OFFSETS, ()), *tags.get(_TILE_OFFSETS, ())):
            raise ImageError("damaged image: strips or tiles of this TIFF are missing")
        if tags.get(_PLANES) == _SEPARATE and _are_misread(image, max(tags.get(_BITS, (8,)))):
            raise ImageError(f"this TIFF has its channels in separate planes, which is not supported: {EXPORT}")
    grey = _grey_of(image)
    try:
        image.load()
        if not _may_lack_rows(image):
            return _to_rgb(image, notes, grey)
        partial, rows = _partly(data)
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        try:
            partial, rows = _partly(data)
        except Exception:  # a decoder without partial results
            raise error from None
    if rows != Rows(0, partial.height):  # `image` may have been turned since
        doubt = "; some of these rows may be wrong" if image.format == "GIF" else ""
        notes.append(note_of(rows, partial.height) + doubt)
    return np.ascontiguousarray(_to_rgb(partial, notes, grey)[rows.top : rows.bottom])


def _are_misread(image: Image.Image, depth: int) -> bool:
    """Return whether Pillow misreads separate planes: it takes one letter of its raw mode for each."""
    bands, tiles = len(image.getbands()), getattr(image, "tile", [])
    raw = bool(tiles) and tiles[0][0] == "raw"
    unusual = depth > 8 or image.mode not in ("RGB", "RGBA", "CMYK")
    return bands > 1 and (image.mode in ("LAB", "LA") or (raw and unusual))


def _may_lack_rows(image: Image.Image) -> bool:
    """Return whether a TIFF lists too few strips, or a PNG ends with rows of zeros, as where its data end early."""
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        rows, strips = tags.get(_ROWS_PER_STRIP), len(tags.get(_STRIP_OFFSETS, ()))
        planes = tags.get(_CHANNELS, 1) if tags.get(_PLANES) == _SEPARATE else 1
        return isinstance(rows, int) and 0 < strips < -(-tags[_HEIGHT] // max(1, rows)) * planes
    if image.format != "PNG":
        return False
    lowest = image.crop((0, image.height - 1, image.width, image.height))
    return not np.asarray(lowest).any()


def _partly(data: bytes) -> tuple[Image.Image, Rows]:
    """Decode as many rows as possible, and return the picture and its decoded rows."""
    fresh = [Image.open(io.BytesIO(data), formats=pillow_names()) for _ in range(2)]
    return partly_loaded((fresh[0], fresh[1]))


def _is_deep_colour(image: Image.Image, data: bytes) -> bool:
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


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 if there is none."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF must not prevent a scan
        return 1
    return int(value) if value in range(1, 9) else 1  # some programs write a rational or a floating number


class _GreyScale(NamedTuple):
    """The scale of grey values.

    Attributes:
        maximum: Largest possible value of integers.
        inverted: True if 0 is white.
    """

    maximum: float
    inverted: bool


def _grey_of(image: Image.Image) -> _GreyScale:
    """Return the scale of the grey values of an image; Pillow inverts those of 8 bits where 0 is white."""
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    return _GreyScale(4095.0 if tags.get(_BITS) == (12,) else 65535.0, tags.get(_PHOTOMETRIC) == 0)


def _to_rgb(image: Image.Image, notes: list[str], grey: _GreyScale) -> np.ndarray:
    """Convert any Pillow mode to (H, W, 3) uint8, strip by strip, with a single copy besides Pillow's."""
    if image.mode in _DEEP_GREY or image.mode in ("I", "F"):
        if _SCALED not in notes:
            notes.append(_SCALED)
        return np.repeat(_deep_grey_to_8_bits(image, grey)[..., None], 3, axis=2)
    pixels, seen_through = np.empty((image.height, image.width, 3), np.uint8), False
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            extrema: Any = strip.getextrema()
            seen_through |= extrema[3][0] < 255
            white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
            white.alpha_composite(strip)
            strip = white
        pixels[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    if seen_through:
        notes.append("transparency rendered on white")
    return pixels


def _deep_grey_to_8_bits(image: Image.Image, grey: _GreyScale) -> np.ndarray:
    """Scale grey values to (H, W) uint8: integers by their range, wider or floating values by their maximum."""
    values = np.asarray(image).astype(np.float32)
    if image.mode in _DEEP_GREY or (image.mode == "I" and values.max() > 255):
        values = values * (255.0 / (grey.maximum if values.max() <= grey.maximum else values.max()))
    elif image.mode == "F":
        values = np.where(np.isfinite(values) & (np.abs(values) < _NO_DATA), values, 0)
        most = float(values.max())  # up to _MAX_UNIT: values of 0..1 with highlights
        values = values * (255.0 / (max(most, 1.0) if most <= _MAX_UNIT else max(most, 255.0)))
    if grey.inverted:
        values = 255.0 - values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

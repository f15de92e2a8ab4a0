"""Decode a file of any supported format into RGB pixels, within limits."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.ExifTags import Base as Tag

from hidascan.errors import NO_MEMORY, ImageError, reason_of
from hidascan.geometry import PATCH
from hidascan.image import tiff
from hidascan.image.boxes import PNG_SIGNATURE
from hidascan.image.damage import (
    Rows,
    ends_early,
    filled_pixels,
    longest_run,
    note_of,
    partly_loaded,
    unreadable_reason,
)
from hidascan.image.formats import EXPORT, LARGEST_FILE, TOO_LARGE, kind_from_head, pillow_names
from hidascan.image.headers import versions, with_known_brand
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
from hidascan.image.raw_photos import raw_photo
from hidascan.image.rgb import SCALED, grey_scale_of, is_deep_colour, mend_transparency, to_rgb
from hidascan.image.signatures import describe, saved_as_text, without_padding
from hidascan.image.webp import complete_webp, padded_webp, webp_size
from hidascan.notes import DAMAGED, DAMAGED_IMAGE, MAY_BE_WRONG, ONLY
from hidascan.options import MAX_PIXELS

pillow_heif.register_heif_opener()
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # replaced by our own limit, which is an error and not a warning

_TOO_SHORT = (
    f"{DAMAGED}the file is shorter than it declares; the picture is intact, but metadata or later frames may be missing"
)
_PIXELS_PER_BYTE = 2731  # largest number that the compression of a GIF can hold


@dataclass(frozen=True)
class DecodedImage:
    """The stored pixels of one image, and the metadata of its container.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, read-only, before EXIF rotation, which would move the JPEG grid (of TIFF and HEIC,
            whose decoders rotate, after it).
        format: Pillow's name of the format.
        orientation: EXIF orientation 1..8 that is still to be applied; 1 is as stored.
        jpeg: JPEG settings of the last save, from the header; None for other formats.
        trace: Trace of an earlier JPEG save in the pixels; None without any, or if not searched for.
        claims: Claims of origin in the metadata, the strongest first.
        manifest: C2PA manifest, from the file or a sidecar.
        capture: Camera, software, time taken and presence of a GPS position, by EXIF; None without any.
        notes: Notes for the reader, such as damage or skipped frames.
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
    after_reading: Callable[[], None] = lambda: None,
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
        after_reading: Callback when the content of the file is in memory.

    Raises:
        ImageError: If the file cannot be read; the message is the reason.
    """
    data, skipped = without_padding(_read_file(Path(path)))
    after_reading()
    if not data:
        raise ImageError("the file is empty")
    with _reasons(data), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind := saved_as_text(data) or raw_photo(data):
            raise ImageError(kind)
        admit = _once(before_load)
        if size := webp_size(data):  # Pillow allocates two pictures when it opens a WebP
            check_size(*size, max_pixels)
            admit(_pixels_in_memory(*size, max_pixels))
        readable, rows, damage = _repaired(with_known_brand(without_long_texts(data)), max_pixels, admit)
        image, decoded = _decoded(readable, max_pixels, admit)
        with image:
            pixels = decoded.pixels if rows is None else decoded.pixels[rows.top : rows.bottom]
            notes = (*skipped, *damage, *decoded.notes)
            trace = jpeg_trace(pixels) if traced else None
            decoded = replace(decoded, pixels=pixels, notes=notes, trace=trace)
            contents = (data, readable) if damage else (data,)
            return _with_origin(decoded, image, contents=contents, path=Path(path), trust=trust)


def _once(callback: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that calls `callback` until it succeeds, and does nothing after."""
    admitted: list[int] = []

    def call(pixels: int) -> None:
        if not admitted:
            callback(pixels)
            admitted.append(pixels)

    return call


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Raise every error of a decoder as ImageError with its reason."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(describe(data)) from None
    except MemoryError:
        raise ImageError(NO_MEMORY) from None
    except Exception as error:  # decoders raise almost any exception on broken data
        if data.startswith(b"BM") and not kind_from_head(data[:64]):
            raise ImageError(describe(data)) from None
        if str(error).startswith("Unsupported BMP"):
            raise ImageError(f"this BMP is of a rare kind, which is not supported: {EXPORT}") from error
        raise ImageError(unreadable_reason(data, error)) from error


def _with_origin(
    decoded: DecodedImage, image: Image.Image, *, contents: tuple[bytes, ...], path: Path, trust: str | None
) -> DecodedImage:
    """Add the metadata on the origin of an image; call it after loading, as a PNG may have text after its pixels.

    `contents` are those of the file, and of a repaired one, whose manifest is read if that of the file is unreadable.
    """
    fields, sidecar = fields_of(image, contents[0]), sidecar_of(path)
    manifest, notes = read_manifest(contents[0], decoded.format, sidecar, trust, fields)
    if manifest is None and len(contents) > 1:
        manifest, others = read_manifest(contents[1], decoded.format, sidecar, trust, fields)
        notes = notes if manifest is None else others
    claims = read_claims(image, fields, manifest)
    has_camera = any((claim.kind, claim.source) == ("camera", "exif") for claim in claims)
    return replace(
        decoded,
        claims=claims,
        manifest=manifest,
        capture=capture_of(image, contents[0], has_camera),
        notes=(*decoded.notes, *notes),
    )


def _repaired(
    data: bytes, max_pixels: int, before_load: Callable[[int], None]
) -> tuple[bytes, Rows | None, tuple[str, ...]]:
    """Repair a damaged PNG, as Pillow rejects most damage and misses damage of pixels, or a truncated WebP.

    Returns:
        The content of the file; its intact rows, None if all are; notes.
    """
    if (complete := complete_webp(data)) != data:
        return complete, None, (_TOO_SHORT,)
    if size := webp_size(data):
        return _readable_webp(data, size[1])
    if not data.startswith(PNG_SIGNATURE):
        return data, None, ()
    if data[12:16] == b"CgBI":
        raise ImageError(f"this is an Apple PNG (CgBI), an unsupported format: {EXPORT}")
    file = PngFile.read(data)
    if file.lacks_palette:
        raise ImageError(f"{DAMAGED_IMAGE}the palette of this PNG file is missing")
    if file.intact:
        return data, None, ()
    check_size(*file.size, max_pixels)
    before_load(_pixels_in_memory(*file.size, max_pixels))
    repaired = file.repair()
    return repaired.data, repaired.rows, (repaired.note,)


def _readable_webp(data: bytes, height: int) -> tuple[bytes, Rows | None, tuple[str, ...]]:
    """Pad a WebP if it is truncated, and return it with its readable rows and a note; unchanged if that is impossible."""
    if not ends_early(data):
        return data, None, ()
    try:
        padded, count = padded_webp(data)
    except (OSError, ValueError, OverflowError):  # the decoder will report it
        return data, None, ()
    rows = Rows(0, count)
    return (padded, None, (_TOO_SHORT,)) if count == height else (padded, rows, (note_of(rows, height),))


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for an image that has no pixels, or more than the limit."""
    if width * height > max_pixels:
        raise ImageError(f"{width}x{height} exceeds the limit of {max_pixels / 1e6:g} megapixels")
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
            raise ImageError(TOO_LARGE)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(reason_of(error)) from None
    except ValueError as error:  # a NUL in the name
        raise ImageError(str(error)) from None


def _decoded(data: bytes, max_pixels: int, before_load: Callable[[int], None]) -> tuple[Image.Image, DecodedImage]:
    """Open and decode a file; if that fails, again without parts that are not needed to show it."""
    failure: Exception | None = None
    for version in versions(data):
        image = None
        try:
            image = Image.open(io.BytesIO(version), formats=pillow_names())
            return image, _decode_opened(image, version, max_pixels, before_load)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, ImageError) and not version.startswith(PNG_SIGNATURE):
                raise
            failure = error
            if image:
                image.close()
    assert failure
    raise failure


def _decode_opened(
    image: Image.Image, data: bytes, max_pixels: int, before_load: Callable[[int], None]
) -> DecodedImage:
    """Decode an opened file: pixels, format, orientation, settings of the last save, and notes."""
    if image.format == "GIF" and _holds_too_little(image, data):
        raise ImageError(f"{DAMAGED_IMAGE}the file is too small for the size that its first frame declares")
    check_size(*image.size, max_pixels)
    notes = list(_frames(image))
    tiff.corrected(image)
    saved = read_save(getattr(image, "quantization", None) or {}, getattr(image, "layer", []))
    format_name = image.format or "unknown"
    before_load(_pixels_in_memory(*image.size, max_pixels))
    if is_deep_colour(image, data):
        notes.append(SCALED)
    if format_name in ("JPEG", "MPO"):
        pixels, damage = decode_jpeg(data, image.mode)
        notes.extend(damage)
    else:
        pixels = _loaded_pixels(image, data, notes)
    notes += filter(None, [filled_pixels(data, format_name, pixels)])
    pixels.flags.writeable = False
    orientation = _orientation(image)  # after loading, as the decoders of TIFF and HEIC rotate and reset it
    return DecodedImage(pixels, format_name, orientation, saved, notes=tuple(notes))


def _holds_too_little(image: Image.Image, data: bytes) -> bool:
    """Return whether the first frame of a GIF is larger than its data can fill, as if read from damaged data."""
    enlarged = image.size != struct.unpack_from("<HH", data, 6)
    return enlarged and image.width * image.height > _PIXELS_PER_BYTE * len(data)


def _frames(image: Image.Image) -> Iterator[str]:
    """Yield a note on the selected picture of a file with several."""
    if image.format == "MPO":  # a JPEG whose other frames are previews or the other eye: no animation
        return
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the first frame may still be intact
        image.seek(0)  # a TIFF stays on the frame that failed
        yield f"{ONLY}the first of several frames scanned; another page cannot be read"
        return
    tiles: Any = getattr(image, "tile", [])
    if image.format == "GIF" and tiles and tuple(tiles[0][1]) != (0, 0, *image.size):
        yield "the first frame covers only a part of the picture"
    if getattr(image, "default_image", False):
        yield f"{ONLY}the still picture of an animated PNG scanned; viewers of animations show other frames"
    elif frames > 1 and image.format == "HEIF":
        yield f"{ONLY}the main one of {frames} pictures in the file scanned"
    elif frames > 1:
        yield f"{ONLY}the first of {frames} frames scanned"


def _loaded_pixels(image: Image.Image, data: bytes, notes: list[str]) -> np.ndarray:
    """Decode by Pillow; of a damaged file, only the intact rows."""
    if image.format == "TIFF":
        tiff.check_tiff(image)
    whole = tiff.intact_rows(image, data)
    mend_transparency(image, data)
    grey = grey_scale_of(image)
    try:
        image.load()
        if not _may_lack_rows(image):
            pixels = to_rgb(image if not _is_without_alpha(image) else image.convert("RGB"), notes, grey)
            return pixels if whole.all() else _without_damaged_rows(pixels, whole, notes)
        partial, rows = _partly(data)
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        try:
            partial, rows = _partly(data)
        except Exception:  # a decoder without partial results
            raise error from None
    if rows != Rows(0, partial.height):  # `image` may have been turned since
        doubt = f"; some of these rows {MAY_BE_WRONG}" if image.format == "GIF" else ""
        notes.append(note_of(rows, partial.height) + doubt)
    return np.ascontiguousarray(to_rgb(partial, notes, grey)[rows.top : rows.bottom])


def _without_damaged_rows(pixels: np.ndarray, whole: np.ndarray, notes: list[str]) -> np.ndarray:
    """Return the longest run of intact rows, (H,) bool, or all rows if too few are known to be intact; add a note."""
    rows = longest_run(whole)
    if not rows.enough(len(whole)):
        notes.append(f"{DAMAGED}corrupt strips or tiles; part of the picture {MAY_BE_WRONG}")
        return pixels
    notes.append(note_of(rows, len(whole)))
    return np.ascontiguousarray(pixels[rows.top : rows.bottom])


def _is_without_alpha(image: Image.Image) -> bool:
    """Return whether all alpha of a BMP is 0, which viewers ignore."""
    extrema: Any = image.getextrema() if image.format == "BMP" and image.mode == "RGBA" else ()
    return bool(extrema) and extrema[3][1] == 0


def _may_lack_rows(image: Image.Image) -> bool:
    """Return whether a TIFF lists too few strips, or a PNG ends with rows of zeros, as where its data end early."""
    if image.format == "TIFF":
        return tiff.lacks_strips(image)
    if image.format != "PNG":
        return False
    lowest = image.crop((0, image.height - 1, image.width, image.height))
    return not np.asarray(lowest).any()


def _partly(data: bytes) -> tuple[Image.Image, Rows]:
    """Decode as many rows as possible, and return the picture and its decoded rows."""
    fresh = [tiff.corrected(Image.open(io.BytesIO(data), formats=pillow_names())) for _ in range(2)]
    for one in fresh:
        mend_transparency(one, data)
    return partly_loaded((fresh[0], fresh[1]))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 if there is none."""
    try:
        value = image.getexif().get(Tag.Orientation, 1)
    except Exception:  # broken EXIF must not prevent a scan
        return 1
    return int(value) if value in range(1, 9) else 1  # some programs write a rational or a floating number

"""Select the intact rows of a damaged image, if there are enough to scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from hidascan.errors import ImageError
from hidascan.image.boxes import iso_boxes
from hidascan.image.heif_items import coded_extents
from hidascan.notes import DAMAGED, DAMAGED_IMAGE, DAMAGED_ONLY, MAY_BE_WRONG

CUT_BEFORE_PIXELS = f"{DAMAGED_IMAGE}the file is truncated before any pixels can be decoded"
_MIN_ROWS, _MIN_SHARE = 64, 0.25
_GENERIC_MESSAGES = ("decoder error", "could not create decoder", "cannot load this image", "failed to read next frame")
_FLAT_PIXELS_PER_ZERO = 300  # in lossy WebP; flat areas were measured to have one zero byte per 350 pixels
_FILLERS = (b"\0", b"\xff", b"\xf6")  # unwritten files, erased flash memory, formatted sectors
_FEWEST = 512  # of these bytes; in intact files, at most 31 zeros (AVIF), 72 FF or 23 F6 followed one another
_BLOCK = 8  # rows of a JPEG block; cuts at block boundaries keep the grid of earlier saves


class Rows(NamedTuple):
    """The rows of an image from `top` to before `bottom`."""

    top: int
    bottom: int

    def enough(self, height: int) -> bool:
        """Return whether these rows are enough to represent an image of `height` rows."""
        rows = self.bottom - self.top
        return rows == height or rows >= max(_MIN_ROWS, _MIN_SHARE * height)


def note_of(rows: Rows, height: int) -> str:
    """Return a note on the scanned rows of a damaged image.

    Raises:
        ImageError: If too few rows are intact.
    """
    count = rows.bottom - rows.top
    if not rows.enough(height):
        raise ImageError(f"{DAMAGED_IMAGE}only {count} of {height} rows are readable")
    which = (
        f"the first {count} of {height} rows" if not rows.top else f"rows {rows.top + 1} to {rows.bottom} of {height}"
    )
    return f"{DAMAGED_ONLY}{which} were readable and scanned"


def filled_pixels(data: bytes, format: str, pixels: np.ndarray) -> str:
    """Return a note if a file has a run of equal bytes in place of coded pixels, which decoders accept; "" if not.

    Unwritten bytes are 0, FF in erased flash memory, and F6 in formatted sectors. Only WebP, HEIF and AVIF are checked,
    which have no checksums.

    Args:
        data: Content of the file.
        format: Pillow's name of the format.
        pixels: (H, W, 3) uint8, the decoded pixels.
    """
    run = b""
    if format == "WEBP":
        run = _run_in_webp(data, pixels)
    elif format in ("HEIF", "AVIF"):
        run = _longest_filler(data, coded_extents(data))
    if not run:
        return ""
    kind = "zero" if run[:1] == b"\0" else f"{run[0]:02X}"
    return f"{DAMAGED}{len(run)} {kind} bytes within the coded pixels; part of the picture {MAY_BE_WRONG}"


def _run_in_webp(data: bytes, pixels: np.ndarray) -> bytes:
    """Return the longest run of equal bytes in the pixel data of a WebP; b"" if too short, or flat areas explain it."""
    lossy = data.find(b"VP8 ")
    at = lossy if lossy >= 0 else data.find(b"VP8L")
    run = _longest_filler(data, [(at + 8, at + 8 + int.from_bytes(data[at + 4 : at + 8], "little"))] if at >= 0 else [])
    if not run or (lossy >= 0 and run[:1] != b"\0"):  # flat areas give zeros only; in lossless WebP, any byte
        return run
    explained = pixels.size // 3 // _FLAT_PIXELS_PER_ZERO if lossy >= 0 else _predictable_pixels(pixels) // 2
    return run if len(run) >= explained else b""


def _longest_filler(data: bytes, extents: list[tuple[int, int]]) -> bytes:
    """Return the longest run of zeros, FF or F6 within the extents (start, stop); b"" if too short for damage."""
    runs = (run for start, stop in extents for filler in _FILLERS for run in _runs(data, filler, start, stop))
    return max(runs, key=len, default=b"")


def _runs(data: bytes, filler: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Yield each run of a byte that is long enough for damage; `find` is many times faster than one expression for all."""
    run, place = re.compile(re.escape(filler) + b"+"), start
    while (place := data.find(filler * _FEWEST, place, stop)) >= 0:
        if found := run.match(data, place, stop):
            yield found[0]
            place = found.end()


def _predictable_pixels(pixels: np.ndarray) -> int:
    """Return the number of pixels that lossless WebP may code as zeros: equal to a neighbour before them, or at the edge."""
    inner = pixels[1:, 1:-1]
    new = np.ones(inner.shape[:2], bool)
    for neighbour in (pixels[1:, :-2], pixels[:-1, :-2], pixels[:-1, 1:-1], pixels[:-1, 2:]):
        new &= (inner != neighbour).any(axis=2)
    return pixels.size // 3 - int(new.sum())


def longest_run(whole: np.ndarray) -> Rows:
    """Return the longest run of intact rows, (H,) bool, between multiples of 8 or the edges of the image."""
    height = len(whole)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    runs = [Rows(0, 0)]
    for top, bottom in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        top = -(-top // _BLOCK) * _BLOCK
        bottom = bottom if bottom == height else bottom // _BLOCK * _BLOCK
        runs.append(Rows(top, max(top, bottom)))
    return max(runs, key=lambda run: run.bottom - run.top)


def partly_loaded(images: tuple[Image.Image, Image.Image]) -> tuple[Image.Image, Rows]:
    """Decode as much of a damaged image as possible.

    The file, opened twice, is loaded onto different backgrounds: rows that differ were not decoded.

    Returns:
        The loaded image, and its decoded rows.
    """
    loaded = [_load_onto(image, value) for image, value in zip(images, (0, 255), strict=True)]
    first, second = (np.asarray(image) for image in loaded)
    return loaded[0], longest_run(same_rows(first, second))


def same_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (H,) bool: whether each row is the same in two images."""
    return (first == second).reshape(len(first), -1).all(axis=1)


def _load_onto(image: Image.Image, value: int) -> Image.Image:
    """Load as much as possible: when a decoder stops, its error is ignored, and the rest has the value `value`."""
    prepare = getattr(image, "load_prepare", None)
    if prepare is None:  # a decoder without partial results
        image.load()
        return image

    def onto_background() -> None:
        prepare()
        bands = len(image.getbands())
        image.im = Image.new(image.im.mode, image.im.size, value if bands == 1 else (value,) * bands).im
        if image.palette:
            image.palette.dirty = 1  # not yet given to this core image

    image.load_prepare = onto_background  # type: ignore[attr-defined]
    try:
        image.load()
    except Exception:  # decoders raise almost any exception; without a core image, the next line raises it again
        loaded = image._new(image.im)
        if loaded.palette:
            loaded.palette.dirty = 1  # not yet given to the core image
        return loaded
    return image


def unreadable_reason(data: bytes, error: Exception) -> str:
    """Return the reason why an image cannot be decoded: its file is truncated, or the message of its decoder."""
    if words := ends_early(data):
        return words
    words = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in words.lower():
        return CUT_BEFORE_PIXELS
    return f"{DAMAGED_IMAGE}{'its pixels cannot be decoded' if words.startswith(_GENERIC_MESSAGES) else words}"


def ends_early(data: bytes) -> str:
    """Return a message if a file is shorter than it declares; "" if not, or unknown."""
    declared = _declared_size(data)
    if declared <= len(data):
        return ""
    return f"{DAMAGED_IMAGE}the file is truncated: {len(data)} of at least {declared} bytes"


def _declared_size(data: bytes) -> int:
    """Return the minimum size in bytes that a file declares for itself; 0 if unknown."""
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little")
    if data[4:8] == b"ftyp":
        return max(end for _, _, end in iso_boxes(data))
    if data[:4] in (b"II*\0", b"MM\0*"):  # offset of the first directory, often at the end
        return 2 + int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big")
    return 0

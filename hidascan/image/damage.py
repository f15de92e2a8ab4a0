"""Select the rows of a damaged image that are scanned: those decoded completely, if there are enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from hidascan.errors import ImageError

_MIN_ROWS, _MIN_SHARE = 64, 0.25
_GENERIC_MESSAGES = ("decoder error", "could not create decoder", "cannot load this image", "failed to read next frame")
_BLOCK = 8  # rows: a boundary between them is one between blocks of a JPEG, and tells the grid of an earlier one


class Rows(NamedTuple):
    """The rows of an image from `top` to before `bottom`."""

    top: int
    bottom: int

    def enough(self, height: int) -> bool:
        """Return whether these rows of an image of `height` rows may stand for it."""
        rows = self.bottom - self.top
        return rows == height or rows >= max(_MIN_ROWS, _MIN_SHARE * height)


def note_of(rows: Rows, height: int) -> str:
    """Say what is scanned of a damaged image.

    Raises:
        ImageError: If it is too little to say anything of the image.
    """
    count = rows.bottom - rows.top
    if not rows.enough(height):
        raise ImageError(f"damaged image: only {count} of {height} rows are readable")
    which = (
        f"the upper {count} of {height} rows" if not rows.top else f"rows {rows.top + 1} to {rows.bottom} of {height}"
    )
    return f"damaged: only {which} were readable and scanned"


def longest_run(whole: np.ndarray) -> Rows:
    """Return the longest run of rows that are whole, between multiples of 8 or the image's own edges.

    Args:
        whole: (H,) bool: whether a row is whole.
    """
    height = len(whole)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    runs = [Rows(0, 0)]
    for top, bottom in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        top = -(-top // _BLOCK) * _BLOCK
        bottom = bottom if bottom == height else bottom // _BLOCK * _BLOCK
        runs.append(Rows(top, max(top, bottom)))
    return max(runs, key=lambda run: run.bottom - run.top)


def partly_loaded(images: tuple[Image.Image, Image.Image]) -> tuple[Image.Image, Rows]:
    """Load what can be decoded of an image.

    It is loaded twice, onto two different backgrounds: rows that depend on them were not decoded.

    Args:
        images: The same file, opened twice and not yet loaded.

    Returns:
        The image, loaded, and its rows that were decoded.
    """
    loaded = [_load_onto(image, value) for image, value in zip(images, (0, 255), strict=True)]
    first, second = (np.asarray(image) for image in loaded)
    same = (first == second).reshape(len(first), -1).all(axis=1)
    return loaded[0], longest_run(same)


def _load_onto(image: Image.Image, value: int) -> Image.Image:
    """Load as much as can be; where a decoder stops, its error is swallowed and `value` remains."""
    prepare = getattr(image, "load_prepare", None)
    if prepare is None:  # a decoder that gives all or nothing
        image.load()
        return image

    def onto_background() -> None:
        prepare()
        bands = len(image.getbands())
        image.im = Image.new(image.im.mode, image.im.size, value if bands == 1 else (value,) * bands).im

    image.load_prepare = onto_background  # type: ignore[attr-defined]
    try:
        image.load()
    except Exception:  # decoders raise nearly anything; without a core image, what follows raises it again
        loaded = image._new(image.im)
        if loaded.palette:
            loaded.palette.dirty = 1  # not yet given to the core image
        return loaded
    return image


def why_unreadable(data: bytes, error: Exception) -> str:
    """Say why nothing of an image can be decoded: that its file ends early, or what its decoder says.

    Args:
        data: The file.
        error: Exception of its decoder.
    """
    if words := ends_early(data):
        return words
    words = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in words.lower():
        return "damaged image: the file is truncated before any pixels can be decoded"
    return f"damaged image: {'its pixels cannot be decoded' if words.startswith(_GENERIC_MESSAGES) else words}"


def ends_early(data: bytes) -> str:
    """Say of a file that it is shorter than it should be; "" where it is not, or cannot tell."""
    declared = _declared_size(data)
    if declared <= len(data):
        return ""
    return f"damaged image: the file is truncated: {len(data)} of at least {declared} bytes"


def _declared_size(data: bytes) -> int:
    """Return how many bytes a file should have at least by what it says of itself, 0 where it does not."""
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little")
    if data[4:8] == b"ftyp":
        return _end_of_boxes(data)
    if data[:4] in (b"II*\0", b"MM\0*"):  # where its first directory lies, which many have at their end
        return 2 + int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big")
    return 0


def _end_of_boxes(data: bytes) -> int:
    """Return where the last box of an ISO base media file ends."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if size < 8:  # 0: up to the end of the file; others cannot be
            return len(data)
        place += size
    return place

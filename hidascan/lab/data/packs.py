"""Packs: windows of labelled images in two files, so that training need not decode large images.

`windows.bin` contains encoded windows one after another, `index.jsonl` a row for each. A window keeps its pixels: it is
the file itself if that is a small JPEG, else lossless WebP.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from hidascan.atomic import atomic_write
from hidascan.errors import HidascanError, RecipeError
from hidascan.image.decode import DecodedImage, decode
from hidascan.image.jpeg_scan import decode_jpeg
from hidascan.lab.artifacts import fingerprint
from hidascan.lab.data.degradations import random_window
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.read_ahead import read_ahead

SIDES = (320, 448, 640)  # of the parts of windows used for samples, pixels; no window is smaller than the first
_BLOB, _INDEX, _UNFINISHED = "windows.bin", "index.jsonl", "index.unfinished.jsonl"
_LARGEST_FILE = 600_000  # maximum size of a JPEG that is stored as a whole, bytes
_WORKERS = 2


@dataclass(frozen=True)
class PackedWindow(LabelledImage):
    """One window."""

    offset: int = 0  # position of the encoded picture in the blob, bytes
    size: int = 0  # size of the encoded picture, bytes
    checksum: int = 0  # CRC-32 of the encoded picture
    # Left, top, width and height of the window in the encoded picture, pixels.
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    quality: int = 0  # JPEG quality of the last save, 1..100; 0 for other formats


@dataclass(frozen=True)
class Packs:
    """The index of a folder of packs; `digest` is its SHA-256, which covers a checksum of each window."""

    folder: Path
    windows: list[PackedWindow]
    digest: str


def make_packs(images: list[LabelledImage], folder: Path, side: int) -> tuple[Packs, Counter[str]]:
    """Cut a window out of each image, at a position given by a hash of its path; continue unfinished packs.

    Returns:
        The packs; and the number of images without a window, "unreadable" or "small", with a side under the first of SIDES.

    Raises:
        RecipeError: If the folder has packs of other images.
    """
    names = [[str(image.path), image.label, image.group, image.source] for image in images]
    made_by = fingerprint(what="packs", side=side, images=names)
    skipped = Counter[str]()
    folder.mkdir(parents=True, exist_ok=True)
    index, unfinished = folder / _INDEX, folder / _UNFINISHED
    if not index.exists():
        known = {window.path for window in _resume(folder, made_by)}
        remaining = [image for image in images if image.path not in known]
        with (folder / _BLOB).open("ab") as blob, unfinished.open("ab") as rows:
            for window, data in _windows(remaining, side, skipped):
                placed = dataclasses.replace(window, offset=blob.tell())
                _append(blob, data)
                _append(rows, _line(dataclasses.asdict(placed)))
        unfinished.rename(index)
    _check_made_by(index, made_by)
    return read_packs(folder), skipped


def read_packs(folder: Path) -> Packs:
    """Read the index of finished packs.

    Raises:
        RecipeError: If packs are missing, unfinished, damaged or empty.
    """
    if not (folder / _INDEX).exists():
        if (folder / _UNFINISHED).exists():
            raise RecipeError(f"{folder}: unfinished packs; run the same hidalab packs again")
        raise RecipeError(f"{folder}: no packs; make them with hidalab packs")
    data = (folder / _INDEX).read_bytes()
    try:
        windows = [_window(line) for line in data.splitlines()[1:]]
        held = (folder / _BLOB).stat().st_size
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, str(error)) from None
    if held < max((window.offset + window.size for window in windows), default=0):
        raise _damaged(folder, f"{_BLOB} is truncated")
    if not windows:
        raise RecipeError(f"{folder}: the packs contain no window")
    return Packs(folder, windows, hashlib.sha256(data).hexdigest())


class DecodedWindows:
    """Pixels of all windows, decoded once into a file that is mapped into memory."""

    def __init__(self, packs: Packs, cache: Path):
        """Map the pixels, decoding them first unless an earlier training did; RecipeError if a window is damaged."""
        self._starts, total = {}, 0
        for window in packs.windows:
            self._starts[window.offset] = total
            total += _bytes_of(window)
        path = cache / f"windows-{packs.digest[:12]}.bin"
        if not path.exists() or path.stat().st_size != total:
            _decode_all(packs, path)
        self._pixels = np.memmap(path, np.uint8, "r")

    def pixels(self, window: PackedWindow) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, read-only."""
        start, (_, _, width, height) = self._starts[window.offset], window.box
        return self._pixels[start : start + _bytes_of(window)].reshape(height, width, 3)


def _bytes_of(window: PackedWindow) -> int:
    return 3 * window.box[2] * window.box[3]


def _decode_all(packs: Packs, path: Path) -> None:
    blob = np.memmap(packs.folder / _BLOB, np.uint8, "r")

    def load(number: int) -> np.ndarray:
        window = packs.windows[number]
        data = blob[window.offset : window.offset + window.size].tobytes()
        if zlib.crc32(data) != window.checksum:
            raise _damaged(packs.folder, f"wrong checksum of {window.path}")
        left, top, width, height = window.box
        return _decoded(data)[top : top + height, left : left + width]

    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(packs.windows)
    with atomic_write(path) as partial, partial.open("wb") as file:
        for pixels in tqdm(read_ahead(load, count, 8, _WORKERS), total=count, desc="decoding", disable=None):
            _append(file, np.ascontiguousarray(pixels).data)


def _decoded(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data), formats=["JPEG", "WEBP"])
    return decode_jpeg(data, image.mode)[0] if image.format == "JPEG" else np.asarray(image.convert("RGB"))


def _resume(folder: Path, made_by: str) -> list[PackedWindow]:
    """Return the windows written by an interrupted run, and remove an incomplete last one."""
    unfinished = folder / _UNFINISHED
    if not unfinished.exists():
        (folder / _BLOB).write_bytes(b"")
        unfinished.write_bytes(_line({"made_by": made_by}))
        return []
    _check_made_by(unfinished, made_by)
    lines = unfinished.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines[1:] if line.endswith(b"\n")]
    windows = [_window(line) for line in whole]
    held = (folder / _BLOB).stat().st_size
    complete = sum(window.offset + window.size <= held for window in windows)
    windows, whole = windows[:complete], whole[:complete]
    with unfinished.open("r+b") as rows, (folder / _BLOB).open("r+b") as blob:
        rows.truncate(sum(len(line) for line in [lines[0], *whole]))
        blob.truncate(windows[-1].offset + windows[-1].size if windows else 0)
    return windows


def _check_made_by(index: Path, made_by: str) -> None:
    with index.open("rb") as file:
        first = file.readline()
    try:
        known = json.loads(first)["made_by"]
    except (ValueError, TypeError, KeyError):
        raise _damaged(index.parent, "its first row is unreadable") from None
    if known != made_by:
        raise RecipeError(f"{index.parent}: contains packs of other images or options; choose another folder")


def _windows(images: list[LabelledImage], side: int, skipped: Counter[str]) -> Iterator[tuple[PackedWindow, bytes]]:
    """Yield windows and their encoded pictures, in the order of the images."""

    def load(number: int) -> tuple[PackedWindow, bytes] | HidascanError | None:
        try:
            return _cut(images[number], side)
        except HidascanError as error:
            return error

    bar = tqdm(images, desc="packing", disable=None)
    for image, cut in zip(bar, read_ahead(load, len(images), 8, _WORKERS), strict=True):
        if isinstance(cut, HidascanError):
            skipped["unreadable"] += 1
            tqdm.write(f"skipped: {image.path}: {cut}")
        elif cut is None:
            skipped["small"] += 1
        else:
            yield cut


def _cut(image: LabelledImage, side: int) -> tuple[PackedWindow, bytes] | None:
    """Cut a window of at most `side` pixels per side out of an image; None if the image is too small."""
    decoded = decode(image.path)
    if min(side, *decoded.pixels.shape[:2]) < SIDES[0]:
        return None
    rng = np.random.default_rng(zlib.crc32(os.fsencode(image.path)))
    window = random_window(decoded.pixels.shape, side, rng)
    part, whole = decoded.pixels[window], _whole_file(image.path, decoded)
    left, top = (window[1].start, window[0].start) if whole else (0, 0)
    data = whole or _lossless(part)
    quality = 0 if decoded.jpeg is None else decoded.jpeg.quality
    box = (left, top, part.shape[1], part.shape[0])
    placed: dict[str, Any] = {"size": len(data), "checksum": zlib.crc32(data), "box": box}
    return PackedWindow(**dataclasses.asdict(image), **placed, quality=quality), data


def _whole_file(path: Path, decoded: DecodedImage) -> bytes | None:
    """Return the content of a small, intact JPEG file."""
    if decoded.format != "JPEG" or path.stat().st_size > _LARGEST_FILE:
        return None
    data = path.read_bytes()
    return data if _decoded(data).shape == decoded.pixels.shape else None


def _lossless(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=20, method=1)
    return file.getvalue()


def _window(line: bytes) -> PackedWindow:
    row = json.loads(line)
    return PackedWindow(**row | {"path": Path(row["path"]), "box": tuple(row["box"])})


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, default=str).encode() + b"\n"


def _append(file: BinaryIO, data: bytes | memoryview) -> None:
    file.write(data)
    file.flush()


def _damaged(folder: Path, reason: str) -> RecipeError:
    return RecipeError(f"{folder}: damaged packs ({reason}); delete them and make them again")

"""Decode a JPEG, check libjpeg's warnings, and find the intact rows of a damaged one.

libjpeg decodes anything: missing data become grey, corrupt data become arbitrary pixels. Pillow and OpenCV hide its
warnings; TurboJPEG reports them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image

from hidascan.errors import ImageError
from hidascan.image.damage import Rows, longest_run, note_of, same_rows
from hidascan.image.headers import plain_jpeg
from hidascan.image.jpeg_layout import EOI, Layout, Scan
from hidascan.notes import DAMAGED, DAMAGED_IMAGE, MAY_BE_WRONG, REDUCED_DETAIL

_UNWRITTEN = 64  # bytes; fewer zeros at the end are padding
_HOLES = re.compile(rb"\0{64,}|\xff{64,}")
_SECTOR = 512  # bytes
_SECTORS = re.compile(rb"\0{256,}")
_STRAY_ZEROS = 2  # before or after an erased sector
_RESTARTS = re.compile(rb"\xff{1,8}[\xd0-\xd7]")
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_ZEROS = "zero bytes in place of pixels"
_NO_END = f"{DAMAGED}the JPEG end marker is missing; all pixels are intact"
_STRAY_BYTES = f"{DAMAGED}the JPEG contains stray bytes; all pixels are intact"
# Warnings on headers, not on pixels.
_HARMLESS = ("bad ICC marker", "JFIF revision", "Invalid SOS parameters", "Adobe color transform")
_OF_DAMAGE = ("corrupt", "premature")  # in warnings
_ANY_BITS = 13  # largest number of missing low bits that T.81 allows
_FILL = 512  # bytes: more than the last, incomplete block can need


def decode_jpeg(data: bytes, mode: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode the first picture of a JPEG file.

    Args:
        data: Content of the file.
        mode: Pillow's mode: "L", "RGB" or "CMYK".

    Returns:
        (H, W, 3) uint8 RGB, only the intact rows of a damaged file; and notes on the damage.

    Raises:
        ImageError: If too few rows can be decoded.
        ValueError: If no row can be decoded.
    """
    try:
        pixels = _rgb(data, mode, strict=True)
    except ValueError as error:
        return _decode_despite(str(error), data, mode)
    if _has_hole(data):
        return _Damaged(data, mode, _ZEROS).decode()
    if _has_erased_sector(data):
        try:
            return _Damaged(data, mode, _ZEROS).decode()
        except ImageError:  # few rows are intact, but of the others, only the last bits are missing
            return pixels, (_corrupt(_ZEROS),)
    return pixels, ()


def is_intact(data: bytes, max_pixels: int) -> bool:
    """Return whether a JPEG, such as a strip of a TIFF, is free of known damage to its pixels.

    One that no decoder of JPEG files reads, or of more than `max_pixels`, counts as intact: it was not checked.
    """
    mode = "CMYK" if len(Layout(data).components) == 4 else "RGB"
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if height * width > max_pixels:
            return True
        _rgb(data, mode, strict=True)
    except ValueError as error:
        if any(word in str(error).lower() for word in _OF_DAMAGE) and not _is_harmless(str(error), data, mode):
            return False
    return not _has_hole(data)


def _is_harmless(warning: str, data: bytes, mode: str) -> bool:
    """Return whether a warning is only about padding, or about a missing end marker."""
    damaged = _Damaged(data, mode, warning)
    return _is_padding(warning, data) or (bool(damaged.layout.scans) and damaged.lacks_only_its_end())


def _decode_despite(warning: str, data: bytes, mode: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a JPEG about which libjpeg warns, or which it rejects."""
    if any(slip in warning for slip in _HARMLESS):
        plain = plain_jpeg(data)
        if plain != data:
            return decode_jpeg(plain, mode)
    data = data.rstrip(b"\xff")  # erased flash memory
    written = data.rstrip(b"\xff\0")
    if len(data) - len(written) >= _UNWRITTEN and Layout(data).progressive:  # others may end with coded zeros
        data = written
    if "subsampling" in warning:  # TurboJPEG supports only the common ones; Pillow reads the others, without warnings
        return _Damaged(data, mode, "").decode()
    if _is_padding(warning, data):
        return _rgb(data, mode), ()
    sorted_out = Layout(data).without_junk()
    if sorted_out == data:
        return _Damaged(data, mode, warning).decode()
    pixels, notes = decode_jpeg(sorted_out, mode)  # TurboJPEG rejects junk between the tables
    return pixels, notes or (_STRAY_BYTES,)


def _rgb(data: bytes, mode: str, strict: bool = False) -> np.ndarray:
    try:
        pixels = simplejpeg.decode_jpeg(data, "CMYK" if mode == "CMYK" else "RGB", strict=strict)
    except ValueError as error:
        if strict or "subsampling" not in str(error):
            raise
        return np.array(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))
    if mode != "CMYK":
        return pixels
    return np.asarray(Image.fromarray(255 - pixels, "CMYK").convert("RGB"))  # inverted, like Adobe's files


def _is_padding(warning: str, data: bytes) -> bool:
    """Return whether a warning is about padding: equal bytes after the scan, as written by cameras to fill a sector."""
    found = _PADDING.search(warning)
    layout = Layout(data)
    if not found or not layout.scans or not layout.covers(layout.scans, 0):
        return False
    scan, behind = layout.scans[-1], int(found[1])
    scanned = data[scan.start : scan.stop]
    equal = len(scanned) - len(scanned.rstrip(scanned[-1:]))  # more than `behind`: some are in place of pixels
    may_be_flat = scanned[-1:] == b"\0" and scan.zeros_are_valid and not layout.progressive
    return equal >= behind and (equal - behind < _UNWRITTEN or may_be_flat)


def _has_hole(data: bytes) -> bool:
    """Return whether a scan has zero bytes in place of coded pixels, which libjpeg decodes without a warning."""
    zeros = bytes(_UNWRITTEN)
    return zeros in data and any(
        not scan.zeros_are_valid and data.find(zeros, scan.start, scan.stop) >= 0 for scan in Layout(data).scans
    )


def _has_erased_sector(data: bytes) -> bool:
    """Return whether zeros in a scan that refines coefficients begin and end where sectors of a disk do.

    Zeros that encode a picture, such as regular stripes, end anywhere.
    """
    if not _SECTORS.search(data):
        return False
    refining = [scan for scan in Layout(data).scans if scan.first and scan.zeros_are_valid]
    return any(
        _is_sector(found.span(), scan) for scan in refining for found in _SECTORS.finditer(data, scan.start, scan.stop)
    )


def _is_sector(zeros: tuple[int, int], scan: Scan) -> bool:
    """Return whether zeros from one position to another are sectors of a disk, the first or last of which another scan may share."""
    start, stop = zeros
    begins, ends = -start % _SECTOR <= _STRAY_ZEROS, stop % _SECTOR <= _STRAY_ZEROS
    return (begins and (ends or stop == scan.stop)) or (ends and start == scan.start)


def _corrupt(warning: str) -> str:
    reason = warning.removeprefix("Corrupt JPEG data: ")
    return f"{DAMAGED}corrupt JPEG data ({reason}); part of the picture {MAY_BE_WRONG}"


class _Damaged:
    """A JPEG that is or may be damaged: libjpeg warned about it, or does not warn about this kind of damage."""

    def __init__(self, data: bytes, mode: str, warning: str):
        self.data, self.mode, self.warning = data, mode, warning
        self.layout = Layout(data)
        self._end = self._end_of_order()

    def _end_of_order(self) -> int:
        """Return the end of the data, or the first restart marker out of order: intervals are missing there."""
        scans = self.layout.scans
        if not self.layout.restarts or len(scans) != 1:
            return scans[-1].stop if scans else 0
        for number, found in enumerate(_RESTARTS.finditer(self.data, scans[0].start, scans[0].stop)):
            if found[0][-1] != 0xD0 + number % 8:
                return found.start()
        return scans[0].stop

    def decode(self) -> tuple[np.ndarray, tuple[str, ...]]:
        if not self.layout.scans:
            raise ImageError(f"{DAMAGED_IMAGE}the file is truncated before its pixels")
        if self.lacks_only_its_end():
            return _rgb(self._repaired(), self.mode), (_NO_END,)
        first, second = (_rgb(self._filled(seed, seed), self.mode) for seed in (1, 2))
        height = len(first)
        whole = same_rows(first, second)
        if self.layout.restarts and not self.layout.progressive:
            tail = same_rows(first, _rgb(self._filled(1, 2), self.mode))
        else:
            tail = whole  # after any loss, colours and positions are shifted
        if not tail.all():
            whole[int(tail.argmin()) :] = False
        if self._lacks_scans(bool(whole.all())):
            return self._coarse()
        rows = longest_run(whole)
        if rows != Rows(0, height):
            note = note_of(rows, height) + ("" if self._is_merely_cut() else f"; some of these rows {MAY_BE_WRONG}")
            return np.ascontiguousarray(first[rows.top : rows.bottom]), (note,)
        if not self.warning:
            return first, ((_corrupt("no end marker"),) if self._ends_early() else ())
        try:
            return _rgb(self._repaired(), self.mode, strict=True), (_STRAY_BYTES,)
        except ValueError as error:
            return _rgb(self._repaired(), self.mode), (_corrupt(str(error)),)

    def lacks_only_its_end(self) -> bool:
        """Return whether libjpeg has no warnings, but for padding, once the end marker is restored."""
        layout = self.layout
        if not self._ends_early() or layout.strays or not layout.covers(layout.scans, 0):
            return False
        try:
            _rgb(self._repaired(), self.mode, strict=True)
        except ValueError as error:
            return _is_padding(str(error), self._repaired())
        return True

    def _lacks_scans(self, whole: bool) -> bool:
        """Return whether every row is incomplete because entire scans of a truncated file are missing."""
        layout = self.layout
        if not self._cut():
            return False
        begun = layout.scans
        is_coarse = layout.progressive and not whole and layout.covers(begun[:-1], _ANY_BITS)
        return not layout.covers(begun, 0) or is_coarse

    def _coarse(self) -> tuple[np.ndarray, tuple[str, ...]]:
        layout = self.layout
        if not layout.progressive or not layout.covers(layout.scans[:-1], _ANY_BITS):
            raise ImageError(f"{DAMAGED_IMAGE}data are missing, only a coarse preview is readable")
        why, doubt = "the file is truncated", ""
        if not self._is_merely_cut():
            why, doubt = "data are missing", f", and part of the picture {MAY_BE_WRONG}"
        note = f"{DAMAGED}{why}; this progressive JPEG was scanned at {REDUCED_DETAIL}{doubt}"
        return _rgb(self._repaired(), self.mode), (note,)

    def _cut(self) -> bool:
        """Return whether data are missing at the end only."""
        ended = self._ends_early() or "premature end" in self.warning.lower()
        return ended and not self.layout.strays and not self._holes()

    def _is_merely_cut(self) -> bool:
        """Return whether the file ends early, and libjpeg finds no other damage."""
        return self._ends_early() and "premature end" in self.warning.lower()

    def _ends_early(self) -> bool:
        return self.data[self.layout.scans[-1].stop :][:2] != EOI

    def _holes(self) -> list[tuple[int, int]]:
        return [
            found.span() for scan in self.layout.scans for found in _HOLES.finditer(self.data, scan.start, scan.stop)
        ]

    def _filled(self, seed: int, last_seed: int) -> bytes:
        """Return the file with gaps and end filled with noise: pixels that depend on the noise are not intact."""
        noise, last_noise = (np.random.default_rng(key).integers(0, 255, _FILL, np.uint8) for key in (seed, last_seed))
        parts, place = [], 0
        for start, stop in sorted([*self._gaps(), *self._holes(), *self.layout.strays]):
            if place <= start < self._end:
                parts += [self.data[place:start], noise.tobytes()]
                place = stop
        return b"".join([*parts, self.data[place : self._end], self._end_in_noise(last_noise.tobytes()), EOI])

    def _end_in_noise(self, noise: bytes) -> bytes:
        """Return noise; with restart markers, also the next one and noise again, as an interval may be complete."""
        if not self.layout.restarts:
            return noise
        before = sum(1 for _ in _RESTARTS.finditer(self.data, self.layout.scans[-1].start, self._end))
        return noise + bytes([0xFF, 0xD0 + before % 8]) + noise

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the positions where a scan or an interval ends, after which data may be missing."""
        for scan in self.layout.scans:
            for found in _RESTARTS.finditer(self.data, scan.start, scan.stop):
                yield found.start(), found.start()
            if scan is not self.layout.scans[-1]:
                yield scan.stop, scan.stop

    def _repaired(self) -> bytes:
        """Return the file with an end marker, and without markers at which libjpeg aborts."""
        parts, place = [], 0
        for start, stop in self.layout.strays:
            parts += [self.data[place:start], b"\xff\0"]
            place = stop
        return b"".join([*parts, self.data[place : self.layout.scans[-1].stop], EOI])

"""Check the checksums of a PNG, which Pillow skips for pixels, and repair a damaged one as far as possible."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hidascan.errors import ImageError
from hidascan.image.boxes import PNG_SIGNATURE
from hidascan.image.damage import Rows, note_of
from hidascan.notes import DAMAGED, DAMAGED_IMAGE, MAY_BE_WRONG

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_LAST_FILTER = 4
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass
class _Chunk:
    kind: bytes
    data: memoryview
    intact: bool  # whether the checksum is correct
    cut: bool  # whether the chunk is truncated


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    def row_bytes(self, width: int) -> int:
        """Return the size in bytes of a row of `width` pixels, including its filter byte."""
        return 1 + -(-width * self.depth * _CHANNELS.get(self.colour, 1) // 8) if width else 0

    def passes(self) -> list[tuple[int, int]]:
        """Return (rows, bytes per row) of each pass."""
        if not self.interlaced:
            return [(self.height, self.row_bytes(self.width))]
        return [
            (-(-max(0, self.height - top) // down), self.row_bytes(-(-max(0, self.width - left) // across)))
            for left, top, across, down in _ADAM7
        ]

    @property
    def size(self) -> int:
        """Size in bytes of all inflated pixels."""
        return sum(rows * size for rows, size in self.passes())

    def up_to_invalid_filter(self, inflated: bytearray) -> bytearray:
        """Return the rows before the first one with an invalid filter, where decoders stop."""
        start = 0
        for rows, size in self.passes():
            filters = np.frombuffer(inflated, np.uint8)[start : start + rows * size : max(1, size)]
            false = np.flatnonzero(filters > _LAST_FILTER)
            if len(false):
                return inflated[: start + int(false[0]) * size]
            start += rows * size
        return inflated

    def whole_rows(self, inflated: int) -> int:
        """Return the number of complete rows from the top in `inflated` bytes."""
        if inflated >= self.size:
            return self.height
        if not self.interlaced:
            return inflated // self.row_bytes(self.width)
        last_rows, last_size = self.passes()[-1]
        done = inflated - (self.size - last_rows * last_size)
        return 2 * (done // last_size) if done >= 0 and last_size else 0


class RepairedPng(NamedTuple):
    """A repaired PNG."""

    data: bytes  # content of a valid file; missing pixels are zero
    rows: Rows  # rows that were recovered
    note: str  # description of the damage


@dataclass
class PngFile:
    """The chunks of a PNG file."""

    chunks: list[_Chunk] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def read(cls, data: bytes) -> PngFile:
        """Find the chunks of a file and check their checksums, without inflating pixels."""
        file, place, view = cls(), len(PNG_SIGNATURE), memoryview(data)
        while place + 8 <= len(data) and not file.ended:
            size, kind = struct.unpack_from(">I4s", data, place)
            if not kind.isalpha():  # not a chunk
                break
            body = view[place + 8 : place + 8 + size]
            crc = data[place + 8 + size : place + 12 + size]
            intact = crc == struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
            file.chunks.append(_Chunk(kind, body, intact, place + 12 + size > len(data)))
            file.ended = kind == b"IEND"
            place += 12 + size
        return file

    @property
    def intact(self) -> bool:
        """Whether all checksums are correct and the end chunk is present."""
        return self.ended and all(chunk.intact for chunk in self.chunks)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height.

        Raises:
            ImageError: If there is no valid header.
        """
        header = self._header()
        return header.width, header.height

    def repair(self) -> RepairedPng:
        """Inflate as many pixels as possible, and return a valid file of these and all other valid chunks.

        Raises:
            ImageError: If too few rows are intact.
        """
        header = self._header()
        known, certain, finished = self._inflate(header.size)
        if not self.chunks[0].intact and not (finished and len(known) == header.size):
            raise ImageError(f"{DAMAGED_IMAGE}the header of this PNG file is wrong")  # wrong size or pixel format
        known = header.up_to_invalid_filter(known)
        certain, finished = min(certain, len(known)), finished and len(known) >= header.size
        rows = Rows(0, header.whole_rows(len(known)))
        sure = Rows(0, header.height if finished else header.whole_rows(certain))
        if sure.bottom == header.height:
            bad = ", ".join(sorted({chunk.kind.decode() for chunk in self.chunks if not (chunk.intact or chunk.cut)}))
            note = f"{DAMAGED}wrong checksum in {bad}" if bad else f"{DAMAGED}the PNG is truncated"
            colours = any(chunk.kind in (b"PLTE", b"tRNS") and not chunk.intact for chunk in self.chunks)
            note = f"{note}; {f'colours {MAY_BE_WRONG}' if colours else 'all pixels are intact'}"
        elif sure.enough(header.height) or rows.bottom == sure.bottom:
            rows, note = sure, note_of(sure, header.height)
        elif rows.bottom == header.height:
            note = f"{DAMAGED}wrong checksum in IDAT; part of the picture {MAY_BE_WRONG}"
        else:
            note = f"{note_of(rows, header.height)}; some of these rows {MAY_BE_WRONG}"
        known += bytes(max(0, header.size - len(known)))
        return RepairedPng(self._written(memoryview(known)[: header.size]), rows, note)

    @property
    def lacks_palette(self) -> bool:
        """Whether the file uses indexed colour but has no palette."""
        kinds = {chunk.kind for chunk in self.chunks}
        return bool(self.chunks) and bytes(self.chunks[0].data[9:10]) == b"\3" and b"PLTE" not in kinds

    def _header(self) -> _Header:
        if not self.chunks or self.chunks[0].kind != b"IHDR" or len(self.chunks[0].data) != 13:
            raise ImageError(f"{DAMAGED_IMAGE}the header of this PNG file cannot be read")
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", self.chunks[0].data)
        return _Header(width, height, depth, colour, bool(interlaced))

    def _inflate(self, size: int) -> tuple[bytearray, int, bool]:
        """Inflate as many pixels as possible.

        Returns:
            The bytes; the number of bytes before the first damage; whether the checksum of all bytes is correct.
        """
        inflater, pixels, certain = zlib.decompressobj(), bytearray(), -1
        for chunk in self.chunks:
            if chunk.kind != b"IDAT":
                continue
            if not (chunk.intact or chunk.cut) and certain < 0:
                certain = len(pixels)
            for start in range(0, len(chunk.data), 256):  # in small steps, so that little is lost at an error
                try:
                    pixels += inflater.decompress(chunk.data[start : start + 256], max(1, size + 1 - len(pixels)))
                except zlib.error:
                    return pixels, len(pixels) if certain < 0 else certain, False
        return pixels, len(pixels) if certain < 0 else certain, inflater.eof and len(pixels) >= size

    def _written(self, pixels: memoryview) -> bytes:
        """Return a complete PNG of the first frame."""
        parts, pending = [PNG_SIGNATURE], True
        for chunk in self.chunks:
            if chunk.kind == b"IDAT":
                parts += [_chunk(b"IDAT", zlib.compress(pixels, 1))] if pending else []
                pending = False
            elif chunk.intact or (chunk.kind in (b"tEXt", b"iTXt", b"IHDR", b"PLTE", b"tRNS") and len(chunk.data)):
                parts.append(_chunk(chunk.kind, bytes(chunk.data)))
        if pending:
            raise ImageError(f"{DAMAGED_IMAGE}the file is truncated before its pixels")
        return b"".join([*parts, b"" if self.ended else _chunk(b"IEND", b"")])

"""Parse a JPEG into its scans like libjpeg, which skips bytes between segments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_HUFFMAN_TABLES, _SOS, _RESTART_INTERVAL = 0xC4, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}
_AC = 0x10  # added to the number of a Huffman table of AC coefficients
# Within scan data: neither a stuffed FF nor a restart marker. Bounded, as erased flash memory is a long run of FF.
_MARKER = re.compile(rb"\xff{1,8}([\x01-\xcf\xd8-\xfe])")
_AFTER_A_SCAN = {0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0), 0xD9}
_TABLE_HEAD = 17  # bytes of a Huffman table before its symbols
_FEW_COEFFICIENTS = 3  # maximum number in a block of one scan


@dataclass
class Scan:
    """One scan.

    Attributes:
        components: Names of its components.
        first: First coefficient of its band.
        last: Last coefficient of its band.
        lacking: Number of missing low bits.
        zeros_are_valid: True if an encoder may write a long run of zeros, as for flat pixels.
        start: First byte of its data.
        stop: End of its data.
    """

    components: tuple[int, ...]
    first: int
    last: int
    lacking: int
    zeros_are_valid: bool
    start: int
    stop: int = 0


@dataclass
class Layout:
    """Positions of the scans of a JPEG, parsed like libjpeg: bytes between segments are skipped."""

    data: bytes
    progressive: bool = False
    restarts: bool = False
    components: tuple[int, ...] = ()
    zero_codes: dict[int, int] = field(default_factory=dict)  # table -> symbol whose code consists of zeros
    scans: list[Scan] = field(default_factory=list)
    junk: list[tuple[int, int]] = field(default_factory=list)  # (from, to): bytes between header segments
    strays: list[tuple[int, int]] = field(default_factory=list)  # (from, to): markers that are invalid within a scan

    def __post_init__(self) -> None:
        place = 2
        while found := _MARKER.search(self.data, place):
            if found.start() > place and not self.scans:
                self.junk.append((place, found.start()))
            kind, place = found[1][0], found.end()
            if kind == EOI[1] and self.scans:
                return
            body = self.data[place + 2 : place + int.from_bytes(self.data[place : place + 2], "big")]
            if kind in _FRAMES and len(body) > 5:
                self.progressive = kind in _PROGRESSIVE
                self.components = tuple(body[6 : 6 + 3 * body[5] : 3])
            elif kind == _HUFFMAN_TABLES:
                self._add_tables(body)
            elif kind == _RESTART_INTERVAL:
                self.restarts = any(body)
            place += 2 + len(body) if len(body) else 0
            if kind == _SOS and body:
                place = self._add_scan(body, place)

    def _add_tables(self, body: bytes) -> None:
        """Add Huffman tables: for each, its number, the number of codes by length, and the symbols by code."""
        while len(body) > _TABLE_HEAD:
            self.zero_codes[body[0]] = body[_TABLE_HEAD]
            body = body[_TABLE_HEAD + sum(body[1:_TABLE_HEAD]) :]

    def _add_scan(self, header: bytes, start: int) -> int:
        """Add a scan whose header ends at `start`; return the end of its data."""
        count = header[0]
        if len(header) < 4 + 2 * count:
            return start
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        code = self.zero_codes.get(_AC | header[2] & 15, 0)
        # Bits 0..3 of a code are the size of a coefficient, the others the number of zeros before it. A slope of grey may be
        # one such symbol a block, whose code is the shortest if the scan holds few coefficients.
        length, step = last - first + 1, (code >> 4) + 1
        is_slope = length % step == 0 and length // step <= _FEW_COEFFICIENTS
        zeros_are_valid = last == 0 or bits > 15 or code & 15 == 0 or is_slope
        scan = Scan(tuple(header[1 : 1 + 2 * count : 2]), first, last, bits & 15, zeros_are_valid, start)
        alone = not self.progressive and set(scan.components) >= set(self.components)
        for found in _MARKER.finditer(self.data, start):
            if found[1][0] in ({EOI[1]} if alone else _AFTER_A_SCAN):
                scan.stop = found.start()
                break
            self.strays.append((found.start(), found.end()))
        else:
            scan.stop = len(self.data.rstrip(b"\xff"))
        self.scans.append(scan)
        return scan.stop

    def without_junk(self) -> bytes:
        """Return the file without the bytes between header segments."""
        parts, place = [], 0
        for start, stop in self.junk:
            parts.append(self.data[place:start])
            place = stop
        return b"".join([*parts, self.data[place:]]) if parts else self.data

    def covers(self, scans: list[Scan], most_lacking: int) -> bool:
        """Return whether scans hold all 64 coefficients of each component, lacking at most `most_lacking` bits of each."""
        wanted = {(name, number) for name in self.components for number in range(64)}
        for scan in scans:
            if scan.lacking <= most_lacking:
                last = scan.last if self.progressive else 63
                wanted -= {(name, number) for name in scan.components for number in range(scan.first, last + 1)}
        return not wanted

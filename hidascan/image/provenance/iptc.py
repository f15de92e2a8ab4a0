"""Read IPTC IIM: captions and credits that photo software writes in addition to XMP."""

from __future__ import annotations

from collections.abc import Iterator

_MARK = 0x1C
_MAX_RECORDS = 1000
_PHOTOSHOP, _RESOURCE, _IPTC_RESOURCE = b"Photoshop 3.0\0", b"8BIM", 0x0404


def iptc_records(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (dataset, value) of the application record, bare or in Photoshop resources."""
    block = block.removeprefix(_PHOTOSHOP)
    if block.startswith(_RESOURCE):
        block = _resource(block)
    at = block.find(bytes([_MARK]))
    for _ in range(_MAX_RECORDS):
        if at < 0 or at + 5 > len(block) or block[at] != _MARK:
            return
        record, dataset, size = block[at + 1], block[at + 2], int.from_bytes(block[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # extended: these are the bytes of the size
            digits = size & 0x7FFF
            size, at = int.from_bytes(block[at : at + min(digits, 8)], "big"), at + digits
        if record == 2:
            yield dataset, block[at : at + size]
        at += size


def _resource(block: bytes) -> bytes:
    """Return the IPTC block in Photoshop resources."""
    at = 0
    for _ in range(_MAX_RECORDS):
        if block[at : at + 4] != _RESOURCE or at + 12 > len(block):
            return b""
        number, name = int.from_bytes(block[at + 4 : at + 6], "big"), block[at + 6]
        at += 7 + name + (name + 1) % 2  # name and length are padded to an even number of bytes
        size = int.from_bytes(block[at : at + 4], "big")
        if number == _IPTC_RESOURCE:
            return block[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return b""

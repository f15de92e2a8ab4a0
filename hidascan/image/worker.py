"""Decode in a separate process, so that a hang or crash of a decoder affects nothing else.

stdin has one JSON line per file; stdout has JSON lines, and pixels after the line with their shape. Pickle is not
used, as files may be hostile. `isolation` is the client.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from hidascan.errors import ImageError
from hidascan.image.decode import decode
from hidascan.records import to_json

try:
    import resource
except ImportError:  # Windows: without limits, but still a separate process
    resource = None  # type: ignore[assignment]

_SECONDS, _PIXELS_PER_SECOND = 10, 5e6
_BYTES, _BYTES_PER_PIXEL = 1 << 30, 24


def main() -> None:
    """Serve until stdin ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # output of libraries must not mix with the replies
    size = _address_space()
    while line := requests.readline():
        _answer(json.loads(line), requests, replies, size)


def _answer(request: dict[str, Any], requests: BinaryIO, replies: BinaryIO, size: int) -> None:
    """Decode one file; memory for pixels is allocated only after the client admits them."""

    def announce(pixels: int) -> None:
        _allow_seconds(0)
        _send(replies, {"pixels": pixels})
        requests.readline()
        _allow_memory(size + _BYTES + _BYTES_PER_PIXEL * pixels)
        _allow_seconds(_SECONDS + int(pixels / _PIXELS_PER_SECOND))

    _allow_memory(size + _BYTES)
    _allow_seconds(_SECONDS)
    try:
        image = decode(request["path"], request["max_pixels"], announce, request["trust"], traced=True)
        names = [field.name for field in dataclasses.fields(image) if field.name != "pixels"]
        properties = {name: to_json(getattr(image, name)) for name in names}
        _allow_seconds(0)
        _send(replies, {"shape": image.pixels.shape, "image": properties})
        replies.write(image.pixels.tobytes() if not image.pixels.flags.c_contiguous else image.pixels.data)
        replies.flush()
    except (ImageError, MemoryError) as error:
        _allow_seconds(0)
        _send(replies, {"error": str(error) or "not enough memory for an image of this size"})


def _send(replies: BinaryIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()


def _allow_seconds(seconds: int) -> None:
    """Let the system kill this process after a number of seconds; 0 for no limit."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _allow_memory(size: int) -> None:
    """Limit the address space to a number of bytes."""
    if resource:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def _address_space() -> int:
    """Return the address space of this process, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 1 << 30

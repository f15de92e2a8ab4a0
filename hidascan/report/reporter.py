"""What every report is: something that takes Findings one by one, and writes each at once."""

from __future__ import annotations

import os
import sys
from typing import Protocol, TextIO

import numpy as np

from hidascan.errors import ImageError, UsageError
from hidascan.finding import Finding
from hidascan.image.isolation import decoders


class Reporter(Protocol):
    """Opened before the scan, told of each Finding as it is ready, closed at the end (an interrupted one too)."""

    def add(self, finding: Finding) -> None: ...

    def close(self) -> None: ...


def pixels_of(finding: Finding) -> np.ndarray:
    """(H, W, 3) uint8 as stored, of an image that was scanned. Raises ImageError if it has changed since."""
    height, width = finding.height, finding.width
    pixels = decoders().decode(finding.path, height * width).pixels
    if pixels.shape[:2] != (height, width):
        raise ImageError("the file has changed since it was scanned")
    return pixels


def open_text(target: str, append: bool = False) -> TextIO:
    """`-` is stdout, else a new file, or the end of what there is. Names that are not UTF-8 go through as the bytes they are.

    Raises UsageError if the file cannot be written.
    """
    if target == "-":
        return sys.stdout
    try:
        return open(target, "a" if append else "w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise UsageError(f"{os.fsdecode(target)}: {(error.strerror or str(error)).lower()}") from None


def close_text(file: TextIO) -> None:
    """Close a file of `open_text`; stdout is only flushed."""
    if file is sys.stdout:
        file.flush()
    else:
        file.close()

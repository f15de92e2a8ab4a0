"""What every report is: something that takes Findings one by one, and writes each at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np

from hidascan.errors import ImageError, UsageError
from hidascan.finding import Finding
from hidascan.image.isolation import decoders


class Report(Protocol):
    """Opened before the scan, told of each Finding as it is ready, closed at the end (of an interrupted scan too).

    One whose files can be resumed also has a static method `whole_records(path)`: it yields each whole record, with
    at least the columns of the CSV, and the byte where it ends.
    """

    def add(self, finding: Finding) -> None:
        """Write a Finding."""

    def close(self) -> None:
        """Finish."""


def pixels_of(finding: Finding) -> np.ndarray:
    """Decode a scanned image again: (H, W, 3) uint8 as stored.

    Raises:
        ImageError: If it has changed since.
    """
    height, width = finding.height or 0, finding.width or 0
    pixels = decoders().decode(finding.path, height * width).pixels
    if pixels.shape[:2] != (height, width):
        raise ImageError("the file has changed since it was scanned")
    return pixels


def output_folder(folder: str, option: str) -> Path:
    """Make the folder that an option names.

    Raises:
        UsageError: If it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {folder}: {(error.strerror or str(error)).lower()}") from None
    return Path(folder)


def free_name(folder: Path, name: str, suffixes: list[str]) -> str:
    """Add a number to a name, if need be, so that nothing in a folder is written over under any of the suffixes."""
    free, number = name, 1
    while any(os.path.exists(folder / (free + suffix)) for suffix in suffixes):  # Path.exists may raise
        number += 1
        free = f"{name}.{number}"
    return free


def open_text(target: str, append: bool = False) -> TextIO:
    """Open a file for text, or its end where there is one, or stdout for "-".

    Names that are not UTF-8 go through as the bytes that they are.

    Raises:
        UsageError: If the file cannot be written.
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

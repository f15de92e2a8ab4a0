"""The interface of reports: they take Findings one by one, and write each at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO, cast

import numpy as np

from hidascan.errors import HidascanError, ImageError, UsageError
from hidascan.finding import Finding
from hidascan.image.isolation import decoders
from hidascan.printable import ANY_TEXT

HEAD = 1 << 16  # bytes of a file that show whether it is a report


class Report(Protocol):
    """A report: opened before the scan, given each Finding as it is ready, closed at the end (even if interrupted).

    One that may replace a file which an earlier scan wrote has a static method `recognises(head)`: whether the first bytes of
    a file are those of such a report. One whose files can be resumed also has `complete_records(path)`: it yields each
    whole record, with at least the columns of the CSV, and the byte where it ends.
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
    while any(os.path.lexists(folder / (free + suffix)) for suffix in suffixes):  # a link that leads nowhere, too
        number += 1
        free = f"{name}.{number}"
    return free


def recognises_nothing(head: bytes) -> bool:
    """Recognise no file: a report that says nothing else never replaces one."""
    return False


def open_text(target: str, append: bool = False, recognises: Callable[[bytes], bool] = recognises_nothing) -> TextIO:
    """Open a file for text, or its end where there is one, or stdout for "-".

    Names that are not UTF-8 go through as the bytes that they are. What is there is looked at once more after it is
    opened, and before it is emptied: a file may have come since the outputs were checked.

    Args:
        target: The file.
        append: Whether to write behind what is there.
        recognises: Whether a file that begins so may be replaced.

    Raises:
        UsageError: If the file cannot be written, or is one that may not be replaced.
    """
    if target == "-":
        return sys.stdout
    try:
        return _opened(target, append, recognises)
    except OSError as error:
        raise UsageError(f"{os.fsdecode(target)}: {(error.strerror or str(error)).lower()}") from None


def _opened(target: str, append: bool, recognises: Callable[[bytes], bool]) -> TextIO:
    if not os.path.exists(target):
        return _text(os.path.realpath(target), "x")  # a link that leads nowhere names a file to be made
    if append or not os.path.isfile(target):
        return _text(target, "a" if append else "w")
    file = _text(target, "r+")
    if not may_be_replaced(file.buffer.read(HEAD), recognises):
        file.close()
        raise UsageError(foreign_file_message(target))
    file.seek(0)
    file.truncate()
    return file


def _text(target: str, mode: str) -> TextIO:
    return cast(TextIO, open(target, mode, encoding="utf-8", errors=ANY_TEXT, newline=""))


def may_be_replaced(head: bytes, recognises: Callable[[bytes], bool]) -> bool:
    """Return whether a file may be replaced: it is empty, or a report of the kind that is to be written."""
    return not head or recognises(head)


def foreign_file_message(file: str) -> str:
    """Return the line that refuses to replace a file."""
    return f"{file} exists and is not a hidascan report of this format; choose another name or delete it first"


def close_text(file: TextIO) -> None:
    """Close a file of `open_text`; stdout is only flushed.

    Raises:
        HidascanError: If somebody has removed the file, and all that was written with it.
    """
    if file is sys.stdout:
        file.flush()
        return
    removed = os.fstat(file.fileno()).st_nlink == 0 and not os.path.exists(file.name)
    file.close()
    if removed:
        raise HidascanError(f"{file.name}: deleted while being written; scan again")

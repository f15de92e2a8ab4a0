"""The interface of reports, which write Findings one by one."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import IO, Any, Protocol, TextIO, cast

import numpy as np

from hidascan.errors import HidascanError, ImageError, UsageError, reason_of
from hidascan.finding import Finding, RunInfo
from hidascan.image.identity import identify
from hidascan.image.isolation import decoders
from hidascan.image.sources import is_stream
from hidascan.printable import ANY_TEXT

try:
    import fcntl
except ImportError:  # Windows: without locks
    fcntl = None  # type: ignore[assignment]

HEAD = 1 << 16  # bytes of a file by which a report is recognised
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # nothing more can be written
_MAX_NAME = 255  # bytes of a file name
_CHANGED = "the file has changed since it was scanned"
# Pixels of the file per scanned pixel: of a damaged picture, at least a quarter of the rows were scanned.
_MAX_ENLARGEMENT = 4


class Report(Protocol):
    """A report: opened before the scan, given each Finding when ready, closed at the end, even if interrupted.

    The class of a format, an entry of FORMATS, is called as `Format(target, run, append)`: the path of a file, or "-"
    for stdout; the configuration of the scan, a RunInfo; and whether to continue the file of an interrupted scan after
    its last complete row, which is true for resumable formats only. The HTML report also takes `case`. `open_text` and `close_text` do what such a file
    needs; most formats derive from `TextReport`, which calls them.

    A report that may replace a file of an earlier scan has a static method `recognises(head)`, which returns whether
    the first bytes are those of such a report. A resumable report also has `complete_records(path)`, which yields each
    complete record, with at least the columns of the CSV, and its end offset in bytes, and START, the bytes that every
    such file begins with.
    """

    def add(self, finding: Finding) -> None:
        """Write a Finding."""

    def close(self) -> None:
        """Finish; by default, every row is complete already."""
        return


class TextReport(Report):
    """A report in one text file, or on stdout.

    Attributes:
        interrupted: True if the scan was interrupted, set before the report is closed.
    """

    interrupted = False

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        """Open the file, as in `open_text`."""
        self._file, self._run = open_text(target, append, self.recognises), run

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether a file with these first bytes may be replaced; by default, none may."""
        return False

    def close(self) -> None:
        """Close the file."""
        close_text(self._file)


def pixels_of(finding: Finding) -> np.ndarray:
    """Decode a scanned image again: (H, W, 3) uint8 as stored.

    Raises:
        ImageError: If the file cannot be read, has changed, or was a stream.
    """
    if is_stream(finding.path):
        raise ImageError("a pipe can be read only once; save the image to a file first")
    height, width = finding.height or 0, finding.width or 0
    now = identify(finding.path) if finding.file else None
    if finding.file and now and now.sha256 != finding.file.sha256:
        raise ImageError(_CHANGED)
    pixels = decoders().decode(finding.path, _MAX_ENLARGEMENT * height * width).pixels
    if pixels.shape[:2] != (height, width):
        raise ImageError(_CHANGED)
    return pixels


def write_error(target: Path, error: OSError) -> Exception:
    """Return the error to raise for a file that cannot be written; that of a full disk ends the scan, so that it can be resumed."""
    return error if error.errno in _FULL else HidascanError(f"{target}: {reason_of(error)}")


def output_folder(folder: str, option: str) -> Path:
    """Create the folder named by an option.

    Raises:
        UsageError: If it cannot be created.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {folder}: {reason_of(error)}") from None
    return Path(folder)


def free_name(folder: Path, name: str, suffixes: list[str]) -> str:
    """Add a number to a name, if needed, so that no file with any of the suffixes is overwritten.

    A name that is too long with the longest suffix is shortened.
    """
    longest = max(suffixes, key=len)
    names = (fitting(name, f"{numbered(number)}{longest}").removesuffix(longest) for number in count(1))
    free = (name for name in names if not any(os.path.lexists(folder / (name + suffix)) for suffix in suffixes))
    return next(free)  # `lexists` is also true for dangling links


def numbered(number: int) -> str:
    """Return the part of a file name that distinguishes files of one name; "" for the first."""
    return "" if number == 1 else f".{number}"


def fitting(name: str, end: str) -> str:
    """Return a name with an end, such as a suffix; a name too long for file systems loses its last characters."""
    while len(os.fsencode(name + end)) > _MAX_NAME:
        name = name[:-1]
    return name + end


def open_text(target: str, append: bool = False, recognises: Callable[[bytes], bool] = TextReport.recognises) -> TextIO:
    """Open a file for text, or stdout for "-".

    Undecodable bytes of file names are preserved. An existing file that is neither empty nor recognised is not replaced;
    this is checked again here, as it may have appeared since the outputs were checked.

    Raises:
        UsageError: If the file cannot be written or may not be replaced.
    """
    if target == "-":
        return sys.stdout
    try:
        return _opened(target, append, recognises)
    except OSError as error:
        raise UsageError(f"{os.fsdecode(target)}: {reason_of(error)}") from None


def _opened(target: str, append: bool, recognises: Callable[[bytes], bool]) -> TextIO:
    if not os.path.exists(target):
        return _text(os.path.realpath(target), "x")  # a dangling link names a file to create
    if append or not os.path.isfile(target):
        return _text(target, "a" if append else "w")
    file = _text(target, "r+")
    if (head := file.buffer.read(HEAD)) and not recognises(head):
        file.close()
        raise UsageError(foreign_file_message(target))
    file.seek(0)
    file.truncate()
    return file


def _text(target: str, mode: str) -> TextIO:
    file = cast(TextIO, open(target, mode, encoding="utf-8", errors=ANY_TEXT, newline=""))  # noqa: SIM115
    try:
        lock(file)
    except UsageError:
        file.close()
        raise
    return file


def lock(file: IO[Any]) -> None:
    """Lock a regular file until it is closed, so that two scans cannot write one report.

    Raises:
        UsageError: If another scan is writing it.
    """
    try:
        if fcntl and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{file.name} is being written by another scan; choose another name") from None
    except OSError:  # a file system without locks
        return


def foreign_file_message(file: str) -> str:
    """Return the error message for a file that may not be replaced."""
    return f"{file} exists and is not a hidascan report of this format; choose another name or delete it first"


def close_text(file: TextIO) -> None:
    """Close a file of `open_text`; only flush stdout.

    Raises:
        HidascanError: If the file was removed during the scan.
    """
    if file is sys.stdout:
        file.flush()
        return
    here = os.fstat(file.fileno())
    there = os.stat(file.name) if os.path.exists(file.name) else None
    removed = stat.S_ISREG(here.st_mode) and here.st_nlink == 0 and not (there and os.path.samestat(here, there))
    file.close()
    if removed:
        raise HidascanError(f"{file.name}: deleted while being written; scan again")

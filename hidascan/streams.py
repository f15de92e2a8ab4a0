"""Prepare the standard streams, which may have any encoding, be closed or full, or lose their reader."""

from __future__ import annotations

import errno
import io
import os
import sys

from hidascan.printable import ANY_TEXT

CLOSED = "standard output is closed"


class ClosedOutput(io.TextIOBase):
    """Replacement for a closed stdout: writing to it is an error."""

    def write(self, text: str) -> int:
        """Refuse to write.

        Raises:
            OSError: Always.
        """
        raise OSError(errno.EBADF, CLOSED)


def prepare_streams() -> None:
    """Make the standard streams accept any text, and replace closed ones.

    Closed descriptors are occupied, too: otherwise a file opened later would get their numbers, and library messages.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ANY_TEXT)

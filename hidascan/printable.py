"""Print untrusted text safely: on a terminal, in a pipe, in any encoding, on streams that may be closed or full."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
import unicodedata

CLOSED = "standard output is closed"
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")  # controls, directions and zero-width characters, line separators
_JOINERS = "\u200c\u200d"  # required by scripts and emoji
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """Escape unprintable text: control and direction characters, undecodable bytes."""
    if text.isprintable():  # fast path for long data URIs
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs" else _escaped(c) for c in text
    )


def one_line(text: str) -> str:
    r"""Escape characters that end a line or a field, change its direction, or are invisible: `\t`, `\n`, `\x1b`.

    Undecodable bytes are kept, so that a path still names its file.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in _JOINERS else c for c in text)


def print_to_stderr(message: str) -> None:
    """Write one line to stderr; do nothing if stderr is full or closed."""
    if sys.stderr is not None:  # print(file=None) would write to stdout
        with contextlib.suppress(OSError, ValueError):
            print(f"hidascan: {printable(message)}", file=sys.stderr, flush=True)


def as_bytes_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle encoding errors: keep the bytes of file names, escape characters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff" and not error.encoding.startswith(("utf-16", "utf-32")):  # several bytes each
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _escaped(character), error.start + 1


ANY_TEXT = "hidascan.any_text"
codecs.register_error(ANY_TEXT, as_bytes_or_escape)


def _escaped(character: str) -> str:
    return _ESCAPES.get(character) or character.encode("unicode_escape", "surrogatepass").decode()


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
    Non-blocking ones, as another program may leave them, would lose rows and end lists early.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        with contextlib.suppress(OSError, AttributeError):  # Windows: not for all kinds of streams, or for none
            os.set_blocking(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ANY_TEXT)

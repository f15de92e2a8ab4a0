"""Make untrusted text safe to print: on a terminal, in a pipe, in an encoding that lacks its characters."""

from __future__ import annotations

import codecs
import contextlib
import sys
import unicodedata

_UNSEEN = ("Cc", "Cf", "Zl", "Zp")  # controls, directions and zero-width characters, line separators
_JOINERS = "\u200c\u200d"  # as scripts and emoji need them
_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """Put escapes in the place of what does not print: control and direction characters, bytes that are no text."""
    if text.isprintable():  # pictures are long
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    r"""Put escapes in the place of what would end a line or a field, turn its direction, or hide: `\t`, `\n`, `\x1b`.

    Other characters stay, and so do bytes that are no text, so that a path still names its file.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in _JOINERS else c for c in text)


def complain(message: str) -> None:
    """Write one line to stderr; where that is full or closed, the scan goes on without it."""
    if sys.stderr is not None:  # print(file=None) would write among the results
        with contextlib.suppress(OSError, ValueError):
            print(f"hidascan: {printable(message)}", file=sys.stderr, flush=True)


def as_bytes_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what an encoding lacks: bytes of file names as the bytes that they are, characters as escapes."""
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

"""Make text from strangers fit for a terminal: control characters are shown, not run, and a line stays one line."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """Put escapes in the place of what does not print: control and direction characters, bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def complain(message: str) -> None:
    """Write one line to stderr."""
    print(f"hidascan: {printable(message)}", file=sys.stderr)

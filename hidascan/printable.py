"""Text from strangers, for a terminal: control characters are shown, not run, and a line stays one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with escapes in place of what does not print: control and direction characters, bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)

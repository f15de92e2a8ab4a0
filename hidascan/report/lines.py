r"""Findings as text lines: `path<TAB>verdict<TAB>score`, or in the user's format."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from hidascan.errors import UsageError
from hidascan.finding import Finding
from hidascan.printable import one_line, printable
from hidascan.report.reporter import Report

PLACEHOLDERS: dict[str, tuple[str, Callable[[Finding], object]]] = {
    "p": ("path", lambda f: f.path),
    "v": ("verdict, or error", lambda f: f.verdict or "error"),
    "s": ("score, 0 to 1", lambda f: None if f.score is None else f"{f.score:.4f}"),
    "u": ("uncertainty of the score", lambda f: None if f.uncertainty is None else f"{f.uncertainty:.4f}"),
    "w": ("width", lambda f: f.width),
    "h": ("height", lambda f: f.height),
    "f": ("format", lambda f: f.format),
    "n": ("patches", lambda f: f.patches),
    "q": ("JPEG quality from the header", lambda f: f.jpeg_quality),
    "Q": (
        "JPEG quality estimated from the pixels",
        lambda f: None if f.jpeg_quality_estimated is None else f"{f.jpeg_quality_estimated:.0f}",
    ),
    "a": ("share of the image that looks AI-made", lambda f: None if f.ai_area is None else f"{f.ai_area:.4f}"),
    "c": ("claim of origin in the file", lambda f: f.provenance),
    "d": ("kind of picture: photo, artwork ...", lambda f: f.domain),
    "g": ("most similar family of generators", lambda f: f.family),
    "e": ("reason why the file could not be read", lambda f: f.error),
}
PLAIN = r"%p\t%v\t%s"  # of an unreadable file: its path, error, and an empty score
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\0": "\0", r"\\": "\\"}
_PART = re.compile(r"%(.?)|\\[nt0\\]", re.DOTALL)


class FormattedLines(Report):
    r"""Lines in a format such as `%v %s %p`, ended by a line feed unless the format ends with \n, \t or \0.

    Tabs, line feeds and other control characters in values are escaped, except in the path if the format ends with \0,
    for `xargs -0`.
    """

    def __init__(self, form: str = PLAIN):
        """Check the format.

        Raises:
            UsageError: For an unknown placeholder.
        """
        for match in _PART.finditer(form):
            if match[1] is not None and match[1] not in (*PLACEHOLDERS, "%"):
                known = ", ".join(f"%{letter} {meaning}" for letter, (meaning, _) in PLACEHOLDERS.items())
                raise UsageError(f"--format: unknown placeholder {match[0]!r}; choose from {known}")
        self._raw = form.endswith(r"\0") and not sys.stdout.isatty()
        self._form = form if form.endswith((r"\n", r"\t", r"\0", "\n")) else form + "\n"

    def add(self, finding: Finding) -> None:
        """Write a line; unknown values are empty."""

        def filled(match: re.Match[str]) -> str:
            if match[0] in _ESCAPES:
                return _ESCAPES[match[0]]
            if match[1] == "p":
                return finding.path.replace("\0", r"\x00") if self._raw else _path(finding)
            value = "%" if match[1] == "%" else PLACEHOLDERS[match[1]][1](finding)
            return "" if value is None else printable(str(value))

        sys.stdout.write(_PART.sub(filled, self._form))
        sys.stdout.flush()


def _path(finding: Finding) -> str:
    """Return the path as one line for a pipe, or printable for a terminal."""
    return printable(finding.path) if sys.stdout.isatty() else one_line(finding.path)

"""Registry of report formats by file suffix. A suffix maps to "module:class", imported on demand."""

from __future__ import annotations

import os
import pkgutil
from typing import Any

from hidascan.errors import UsageError

FORMATS = {
    "csv": "hidascan.report.csv_report:CsvReport",
    "jsonl": "hidascan.report.jsonl_report:JsonlReport",
    "html": "hidascan.report.html_report:HtmlReport",
}


def format_of(file: str) -> str:
    """Return the name of the format of a file, by its suffix.

    Raises:
        UsageError: If the suffix is unknown.
    """
    name = os.path.splitext(file)[1].lower().removeprefix(".")
    if name not in FORMATS:
        raise UsageError(f"--output {file}: the suffix must be {suffixes()}")
    return name


def suffixes() -> str:
    """Return the suffixes of all formats, in words."""
    *names, last = (f".{name}" for name in FORMATS)
    return f"{', '.join(names)} or {last}"


def report_class(name: str) -> Any:
    """Import the class of a format; called with (target, run, append), it opens a report."""
    return pkgutil.resolve_name(FORMATS[name])

"""The report formats, by file suffix."""

from __future__ import annotations

import importlib
import os
from typing import Any

from hidascan.errors import UsageError

FORMATS = {
    "csv": "hidascan.report.csv_report:CsvReport",
    "html": "hidascan.report.html_report:HtmlReport",
    "jsonl": "hidascan.report.jsonl_report:JsonlReport",
}


def format_of(file: str) -> str:
    """Return the name of the format of a file, by its suffix.

    Raises:
        UsageError: If the suffix is unknown.
    """
    name = os.path.splitext(file)[1].lower().removeprefix(".")
    if name not in FORMATS:
        raise UsageError(f"--output {file}: the suffix must be one of {', '.join(f'.{known}' for known in FORMATS)}")
    return name


def report_class(name: str) -> Any:
    """Import the class of a format; called with (target, run, append), it opens a report."""
    module, _, attribute = FORMATS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)

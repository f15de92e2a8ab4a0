"""The report formats, by file suffix."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from hidascan.errors import UsageError

if TYPE_CHECKING:
    from hidascan.report.reporter import Report
    from hidascan.run import RunInfo

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


def open_report(name: str, target: str, run: RunInfo, append: bool, **settings: str) -> Report:
    """Open a report.

    Args:
        name: Name of the format.
        target: Path of a file, or "-" for stdout.
        run: Configuration of the scan.
        append: Whether to continue the file of an interrupted scan.
        **settings: Further settings of this format.

    Raises:
        UsageError: If the file cannot be written.
    """
    report: Report = report_class(name)(target, run, append, **settings)
    return report

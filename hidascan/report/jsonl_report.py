"""Findings as JSON lines: the columns of the CSV, and what does not fit into a table."""

from __future__ import annotations

import json

from hidascan.finding import Finding
from hidascan.report.reporter import close_text, open_text


class JsonlReport:
    """One object a line: `finding.COLUMNS`, then `logit` (raw), `orientation` (EXIF) and `notes` (list of str)."""

    def __init__(self, target: str):
        self._file = open_text(target)

    def add(self, finding: Finding) -> None:
        more = {"logit": finding.logit, "orientation": finding.orientation, "notes": list(finding.notes)}
        self._file.write(json.dumps({**finding.row(), **more}) + "\n")
        self._file.flush()

    def close(self) -> None:
        close_text(self._file)

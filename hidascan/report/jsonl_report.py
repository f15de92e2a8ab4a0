"""Findings as JSON lines: the columns of the CSV, and what does not fit into a table."""

from __future__ import annotations

import json
from dataclasses import asdict

from hidascan.finding import Finding
from hidascan.report.reporter import close_text, open_text


class JsonlReport:
    """One object a line: `finding.COLUMNS`, then `logit` (raw), `orientation` (EXIF), `notes` (list of str), `stress`
    (copy -> score; empty without a stress test), `jpeg_saved` (quality, tables, subsampling) and
    `jpeg_trace` (quality, top, left) or null, `claims` (kind, source, text, signature, detail), `regions` (left, top,
    right, bottom, area, score) and, with `--explain`, `effects` (left, top, effect)."""

    def __init__(self, target: str, append: bool = False):
        self._file = open_text(target, append)

    def add(self, finding: Finding) -> None:
        more = {name: getattr(finding, name) for name in ("logit", "orientation", "notes", "stress")}
        for name in ("jpeg_saved", "jpeg_trace"):
            known = getattr(finding, name)
            more[name] = known and asdict(known)
        for name in ("claims", "regions", "effects"):
            more[name] = [asdict(entry) for entry in getattr(finding, name)]
        self._file.write(json.dumps({**finding.row(), **more}) + "\n")
        self._file.flush()

    def close(self) -> None:
        close_text(self._file)

"""Findings as JSON lines: the columns of the CSV, and nested data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hidascan.finding import COLUMNS, Finding
from hidascan.report.reporter import close_text, open_text
from hidascan.run import RunInfo
from hidascan.summary import summary

_FIRST_KEYS = re.compile(
    rb'\{"path": "(?:[^"\\]|\\.)*", "status": "(?:ok|error)", "verdict": (?:null|"[a-z]+"), "score": (?:null|[\d.e-]+),'
)


def json_row(finding: Finding, run: RunInfo) -> dict[str, Any]:
    """Return a finding as a JSON object: its record, `scan`, the configuration, and `summary`, the card in words."""
    return {**finding.record(), "scan": finding.scan or run.record(), "summary": summary(finding, run).record()}


class JsonlReport:
    """JSON Lines report: one object per line, by `json_row`."""

    START = b'{"path": "'

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        self._file, self._run = open_text(target, append, self.recognises), run

    def add(self, finding: Finding) -> None:
        """Write a line."""
        self._file.write(json.dumps(json_row(finding, self._run)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        close_text(self._file)

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether a file is a hidascan report, by the start of its first line."""
        return bool(_FIRST_KEYS.match(head))

    @staticmethod
    def complete_records(path: str) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the complete records of a file, each with its end offset in bytes."""
        end = 0
        with open(path, "rb") as file:
            for line in file:
                end += len(line)
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    return
                if not isinstance(record, dict) or not {*COLUMNS} <= record.keys():
                    return
                yield record, end

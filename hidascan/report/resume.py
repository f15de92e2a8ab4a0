"""Resume interrupted scans: what was written whole, and whether this scan may continue it.

While a scan runs, FILE.unfinished beside each output says how it is made; a scan that ends removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidascan.errors import UsageError
from hidascan.finding import Finding
from hidascan.report.formats import report_class


@dataclass(frozen=True)
class Finished:
    """What earlier runs did.

    Attributes:
        anything: Whether there are outputs to continue.
        paths: Files with a whole row in every output.
        found_ai: Whether one of them was ai.
        failed: Whether one could not be read.
    """

    anything: bool = False
    paths: set[str] = field(default_factory=set)
    found_ai: bool = False
    failed: bool = False


def resumable(outputs: list[tuple[str, str]], wanted: bool) -> dict[str, str]:
    """Return those of (file, format) that a later scan can continue, file -> format.

    Raises:
        UsageError: If resuming is wanted, and there is none or there are others.
    """
    files = {file: name for file, name in outputs if hasattr(report_class(name), "whole_records") and file != "-"}
    if wanted and (not files or any(file != "-" and file not in files for file, _ in outputs)):
        raise UsageError("--resume needs --csv FILE or --jsonl FILE, and does not go with --html")
    return files


def begin(outputs: Mapping[str, str], made_by: dict[str, object], resume: bool) -> Finished:
    """Mark the outputs as unfinished; with `resume`, cut them back to the rows that all of them have whole.

    Raises:
        UsageError: If an output that is to be continued is finished, or was made by other weights or options.
    """
    files = [file for file in outputs if _is_regular(file)]
    parts = [_unfinished(file, outputs[file], made_by) for file in files] if resume else []
    for file in files:
        with suppress(OSError):  # a folder that takes no more files: then this scan cannot be resumed
            _mark(file).write_text(json.dumps(made_by), encoding="utf-8")
    known = [rows for rows in parts if rows is not None]
    if not known or len(known) < len(parts):
        return Finished()
    count = min(len(rows) for rows in known)
    for file, rows in zip(files, known, strict=True):
        os.truncate(file, rows[count - 1][1] if count else 0)
    findings = [row for row, _ in known[0][:count]]
    return Finished(
        True,
        {finding.path for finding in findings},
        any(finding.verdict == "ai" for finding in findings),
        any(finding.status != "ok" for finding in findings),
    )


def end(outputs: Collection[str]) -> None:
    """Take the marks away: the scan is over, and the outputs are whole."""
    for file in outputs:
        if _is_regular(file):
            _mark(file).unlink(missing_ok=True)


def _is_regular(file: str) -> bool:
    """Tell files from pipes and devices, which cannot be resumed."""
    return os.path.isfile(file) or not os.path.exists(file)


def _mark(file: str) -> Path:
    return Path(f"{file}.unfinished")


def _unfinished(file: str, name: str, made_by: dict[str, object]) -> list[tuple[Finding, int]] | None:
    """Return the whole rows of an output, each with the byte where it ends; None if there is no output yet."""
    if not os.path.exists(file):
        return None
    try:
        before: Any = json.loads(_mark(file).read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"--resume: {file} is not an unfinished scan; remove it to scan anew") from None
    except ValueError:
        before = {}
    changed = [key for key in made_by if before.get(key) != made_by[key]]
    if changed:
        raise UsageError(f"--resume: {file} was made with other {', '.join(changed)}; remove it to scan anew")
    return [(Finding.from_record(record), place) for record, place in report_class(name).whole_records(file)]

"""Verify a JSON Lines report against its files and the weights of this machine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hidascan.errors import CheckpointError, UsageError, reason_of
from hidascan.finding import Finding
from hidascan.image.identity import identify
from hidascan.image.sources import is_stream, is_uri
from hidascan.options import ScanOptions
from hidascan.printable import print_to_stderr, printable
from hidascan.report.resume import is_own, mark_of
from hidascan.scanner import Scanner

TOLERANCE = 0.005  # of scores, as machines round differently


def verify(report: Path, sample: int, base: Path, weights: str | None, device: str) -> int:
    """Verify a report: print each difference and a summary, and return the number of differences.

    Args:
        report: Report in JSON lines; all its files are hashed again.
        sample: Number of unchanged files to scan again, spread evenly over the report.
        base: Base folder of relative paths.
        weights: Weights for scanning again; None for those that the report names.
        device: Device for scanning again.

    Raises:
        UsageError: If the report cannot be read.
    """
    rows = read_rows(report)
    changes = [change_of(row, base) for row in tqdm(rows, desc="hashing", disable=None)]
    changed = [(row.path, change) for row, change in zip(rows, changes, strict=True) if change is not None]
    for path, change in changed:
        print(printable(f"{path}: {change}"))
    gone = {path for path, _ in changed}
    chosen = _sample([row for row in rows if row.path not in gone], sample)
    differences, scanned = len(changed), 0
    with tqdm(total=len(chosen), desc="scanning", disable=None) as bar:
        for files, lines in _scanned_again(chosen, base, weights, device):
            for line in lines:
                print(printable(line))
            differences += len(lines)
            scanned += files
            bar.update(files)
    print(f"{_hashed(rows, changes)}, {scanned} scanned again: {_count(differences)}")
    mark = mark_of(str(report))
    if os.path.lexists(mark) and is_own(mark):
        print_to_stderr(f"{report} is incomplete: its scan was interrupted, or is still running")
    return differences


def _sample(rows: list[Finding], count: int) -> list[Finding]:
    """Take `count` rows, spread evenly; all if there are fewer."""
    count = min(count, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


def _hashed(rows: list[Finding], changes: list[str | None]) -> str:
    """Return the number of hashed files in words, with that of the rows without a hash."""
    hashed = sum(
        bool(row.file) and (change is None or change.startswith("content has changed"))
        for row, change in zip(rows, changes, strict=True)
    )
    without = sum(row.file is None for row in rows)
    return f"{hashed} files hashed" + (f" ({without} unreadable, without a hash)" if without else "")


def _count(differences: int) -> str:
    return f"{differences or 'no'} difference{'s' * (differences != 1)}"


def read_rows(report: Path) -> list[Finding]:
    """Read a report; each finding has its `scan`.

    Raises:
        UsageError: If it is missing, or not a JSON Lines report with file hashes.
    """
    rows, number = [], 0
    try:
        with report.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                number += 1
                if line.strip():
                    rows.append(_row(line))
    except OSError as error:
        raise UsageError(f"{report}: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{report}: not a hidascan --jsonl report: not UTF-8 text") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{report}: line {number} is not a row of a hidascan --jsonl report ({reason})") from None
    if not rows:
        raise UsageError(f"{report}: the report has no rows")
    return rows


def _row(line: str) -> Finding:
    record = json.loads(line)
    row = replace(Finding.from_record(record), scan=dict(record["scan"]))
    if not isinstance(row.path, str) or row.status not in ("ok", "error"):
        raise ValueError("path or status is missing")
    return row


def change_of(finding: Finding, base: Path) -> str | None:
    """Describe how a file differs from its row in a report, or is missing; None if it is the same."""
    before = finding.file
    if before is None:
        return "the report contains no hash for this file" if finding.status == "ok" else None
    if not _is_local(finding):
        return "not verified: only local files are hashed again"
    now = identify(str(base / finding.path))
    if now is None:
        return _unreadable_reason(base / finding.path)
    if now.sha256 == before.sha256:
        return None
    size = "" if now.bytes == before.bytes else f", {before.bytes} bytes then, {now.bytes} now"
    return f"content has changed (sha256 {before.sha256[:12]} then, {now.sha256[:12]} now{size})"


def _is_local(finding: Finding) -> bool:
    """Return whether a row is about a file that can be read again here."""
    return not (is_uri(finding.path) or is_stream(finding.path))


def _unreadable_reason(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "no longer a regular file"
        with path.open("rb"):
            return "cannot be read"
    except FileNotFoundError:
        return f"no such file: {path}"
    except OSError as error:
        return f"cannot be read: {reason_of(error)}"
    except ValueError as error:  # a NUL in the name
        return f"cannot be read: {error}"


def _scanned_again(
    rows: list[Finding], base: Path, weights: str | None, device: str
) -> Iterator[tuple[int, list[str]]]:
    """Scan files again with the report's settings, and yield the number of files, 0 or 1, with a line per difference."""
    by_scan: dict[str, list[Finding]] = {}
    for row in rows:
        by_scan.setdefault(json.dumps(row.scan, sort_keys=True), []).append(row)
    for members in by_scan.values():
        scan = members[0].scan or {}
        try:
            scanner = Scanner(_options(scan, weights, device))
        except CheckpointError as error:
            yield 0, [f"cannot be scanned again: {error}"]
            continue
        then, here = scan.get("weights"), scanner.info.digest
        if then != here:
            yield 0, [f"different weights: {str(then)[:12]} in the report, {here[:12]} now"]
        for row, now in zip(members, scanner.scan_files(str(base / row.path) for row in members), strict=True):
            yield 1, [*_differences(row, now)]


def _options(scan: Mapping[str, Any], weights: str | None, device: str) -> ScanOptions:
    known = {field.name for field in fields(ScanOptions)}
    known -= {"weights", "precision", "c2pa_trust"}  # trusted signers change no score, and their file may be elsewhere
    options = {name: value for name, value in scan.items() if name in known}
    precision = {"float32": "fp32", "bfloat16": "bf16"}.get(str(scan.get("precision")), "auto")
    name = weights or str(scan.get("weights_name", ""))
    return ScanOptions(**{**options, "weights": name, "precision": precision, "device": device})


def _differences(before: Finding, now: Finding) -> Iterator[str]:
    if before.status != now.status:
        yield f"{before.path}: {before.status} then, {now.status} now ({now.error or before.error})"
        return
    then, again = before.score, now.score
    if (then is None) != (again is None) or (then is not None and not abs(then - (again or 0.0)) <= TOLERANCE):
        shown = ["none" if score is None else f"{score:.4f}" for score in (then, again)]
        yield f"{before.path}: score {shown[0]} then, {shown[1]} now"
    if before.verdict != now.verdict:
        yield f"{before.path}: {before.verdict} then, {now.verdict} now"

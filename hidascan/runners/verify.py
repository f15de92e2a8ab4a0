"""Check a report of JSON lines against the files that it names and the weights that are here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hidascan.errors import CheckpointError, UsageError
from hidascan.finding import Finding
from hidascan.image.evidence import evidence_of
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner

TOLERANCE = 0.005  # of scores: machines differ in how they round


@dataclass(frozen=True)
class Row:
    """One row of a report: what it found, and what it was made with."""

    finding: Finding
    scan: dict[str, Any]


def read_rows(report: Path) -> list[Row]:
    """Read a report.

    Raises:
        UsageError: If it is missing, or no report of JSON lines with evidence.
    """
    try:
        lines = report.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line]
        return [Row(Finding.from_record(record), dict(record["scan"])) for record in records]
    except OSError as error:
        raise UsageError(f"{report}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{report}: not a report of hidascan --jsonl with evidence ({error})") from None


def changed_files(rows: list[Row], base: Path, on_row: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Yield a line for each file that is gone, or is not what the report saw.

    Args:
        rows: Of the report.
        base: Folder that relative paths start from.
        on_row: Called after each.
    """
    for row in rows:
        path, before = row.finding.path, row.finding.file
        now = evidence_of(str(base / path))
        if before is None:
            if row.finding.status == "ok":
                yield f"{path}: the report has no hash of it"
        elif now is None:
            yield f"{path}: no longer there"
        elif now.sha256 != before.sha256:
            size = "" if now.bytes == before.bytes else f", {before.bytes} bytes then, {now.bytes} now"
            yield f"{path}: its bytes have changed (sha256 {before.sha256[:12]} then, {now.sha256[:12]} now{size})"
        on_row()


def changed_scores(
    rows: list[Row], base: Path, weights: str | None, device: str, on_row: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """Scan files again as the report did, and yield a line for each score or verdict that differs.

    Args:
        rows: Those to be scanned again.
        base: Folder that relative paths start from.
        weights: A name or path; None for the name in the report.
        device: Where.
        on_row: Called after each.
    """
    by_scan: dict[str, list[Row]] = {}
    for row in rows:
        by_scan.setdefault(json.dumps(row.scan, sort_keys=True), []).append(row)
    for members in by_scan.values():
        try:
            scanner = Scanner(_options(members[0].scan, weights, device))
        except CheckpointError as error:
            yield f"cannot be scanned again: {error}"
            continue
        told, here = members[0].scan.get("weights"), scanner.run.digest
        if told != here:
            yield f"other weights: the report was made with {str(told)[:12]}, these are {here[:12]}"
        for row, now in zip(members, scanner.scan_files(str(base / row.finding.path) for row in members), strict=True):
            yield from _differences(row.finding, now)
            on_row()


def _options(scan: dict[str, Any], weights: str | None, device: str) -> ScanOptions:
    known = {field.name for field in fields(ScanOptions)}
    options = {name: value for name, value in scan.items() if name in known and name not in ("weights", "precision")}
    precision = {"float32": "fp32", "bfloat16": "bf16"}.get(str(scan.get("precision")), "auto")
    name = weights or str(scan.get("weights_name", ""))
    return ScanOptions(**{**options, "weights": name, "precision": precision, "device": device})


def _differences(before: Finding, now: Finding) -> Iterator[str]:
    if before.status != now.status:
        yield f"{before.path}: {before.status} then, {now.status} now ({now.error or before.error})"
        return
    then, again = before.score, now.score
    if then is not None and again is not None and abs(then - again) > TOLERANCE:
        yield f"{before.path}: score {then:.4f} then, {again:.4f} now"
    if before.verdict != now.verdict:
        yield f"{before.path}: {before.verdict} then, {now.verdict} now"

"""Resume interrupted scans: find complete rows, and check that this scan may continue them.

During a scan, the mark FILE.unfinished beside each output holds the settings; it is removed at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hidascan.atomic import atomic_write
from hidascan.errors import UsageError, reason_of
from hidascan.finding import Finding
from hidascan.image.sources import is_uri, path_key
from hidascan.printable import print_to_stderr
from hidascan.report import FORMATS, report_class
from hidascan.report.reporter import HEAD, lock

_DEVICES = ("/dev/fd/", "/dev/std", "/proc/")
MARK_KEYS = ("version", "weights", "detector")


@dataclass(frozen=True)
class EarlierResults:
    """Results of earlier runs."""

    resuming: bool = False  # whether there are outputs to continue
    paths: set[str] = field(default_factory=set)  # files with a complete row in every output
    found_ai: bool = False  # whether any of them is ai
    failed: bool = False  # whether any of them was unreadable


def resumable(outputs: Iterable[tuple[str, str]], wanted: bool) -> dict[str, str]:
    """Return the resumable ones of (file, format) outputs, as {file: format}.

    Raises:
        UsageError: If resuming is requested without an output, or with one that cannot be resumed.
    """
    files = {file: name for file, name in outputs if is_resumable(name) and file != "-"}
    if wanted and (not files or any(file != "-" and file not in files for file, _ in outputs)):
        formats = " or ".join(filter(is_resumable, FORMATS))
        raise UsageError(f"--resume needs a {formats} report in a file, and no report in another format")
    return files


def is_resumable(name: str) -> bool:
    """Return whether reports of a format can be resumed."""
    return hasattr(report_class(name), "complete_records")


def check(file: str, name: str, resume: bool) -> None:
    """Check a resumable output, by the name of its format.

    Raises:
        UsageError: If rows of an interrupted scan would be lost, or the mark would overwrite a foreign file.
    """
    mark = mark_of(file)
    if not os.path.lexists(mark):
        return
    if not is_own(mark):
        raise UsageError(f"{mark} exists and was not written by hidascan; choose another name for {file}, or delete it")
    if resume or not (os.path.isfile(file) and os.path.getsize(file)):
        return
    with open(file, "rb+") as stream:  # NFS locks only what may be written
        lock(stream)  # a running scan is not an interrupted one
    kind, head = report_class(name), head_of(file)
    count = sum(1 for _ in kind.complete_records(file))
    if not count and kind.recognises(head) and head.count(b"\n") > kind.START.count(b"\n"):  # rows with other columns
        raise UsageError(f"{file} is an unfinished scan by another version of hidascan; delete it to start over")
    if count or not kind.recognises(head):
        raise UsageError(
            f"{file} is an unfinished scan ({count} row{'s' * (count != 1)}): continue with --resume, or delete it to "
            "start over"
        )


def can_be_continued(file: str, name: str) -> bool:
    """Return whether a file is a report of a format; one truncated in its first line is recognised by its mark."""
    kind, head = report_class(name), head_of(file)
    truncated = b"\n" not in head and kind.START.startswith(head[: len(kind.START)])
    return kind.recognises(head) or (truncated and is_own(mark_of(file)))


def begin(outputs: Mapping[str, str], made_by: dict[str, object], resume: bool) -> EarlierResults:
    """Mark the outputs as unfinished; with `resume`, truncate them to the rows that are complete in all of them.

    Raises:
        UsageError: If an output to resume is finished, was made by other weights or options, or is missing while
            another one has rows.
    """
    files = [file for file in outputs if is_regular(file)]
    parts = {file: _unfinished(file, outputs[file], made_by) for file in files} if resume else {}
    missing = [file for file, rows in parts.items() if rows is None]
    known = {file: rows for file, rows in parts.items() if rows is not None}
    for file, rows in known.items():
        if missing and rows:
            raise UsageError(f"--resume: {file} has {len(rows)} rows, but {missing[0]} does not exist; omit it")
    for file in files:
        try:
            write_mark(mark_of(file), made_by)
        except OSError as error:
            problem = f"{mark_of(file)}: {reason_of(error)}"
            print_to_stderr(
                f"{problem}; if this scan is interrupted, it cannot be resumed, and the next one replaces its rows"
            )
    if not known or missing:
        return EarlierResults()
    count = min(len(rows) for rows in known.values())
    if len({tuple(row.path for row, _ in rows[:count]) for rows in known.values()}) > 1:
        raise UsageError(f"--resume: {' and '.join(known)} have rows of different files; resume each of them alone")
    for file, rows in known.items():
        with open(file, "rb+") as stream:
            lock(stream)
            stream.truncate(rows[count - 1][1] if count else 0)
    findings = [row for row, _ in next(iter(known.values()))[:count]]
    return EarlierResults(
        resuming=True,
        paths={finding.path for finding in findings},
        found_ai=any(finding.verdict == "ai" for finding in findings),
        failed=any(finding.status != "ok" for finding in findings),
    )


def complete_outputs(outputs: Iterable[str]) -> dict[str, int]:
    """Return the outputs that exist and are not unfinished, with their sizes in bytes."""
    return {
        file: os.path.getsize(file) for file in outputs if os.path.isfile(file) and not os.path.lexists(mark_of(file))
    }


def end(outputs: Collection[str]) -> None:
    """Remove the marks, as the scan is over and the outputs are complete."""
    for file in outputs:
        mark = mark_of(file)
        if is_regular(file) and os.path.lexists(mark) and is_own(mark):
            mark.unlink(missing_ok=True)


def has_mark(file: str, name: str) -> bool:
    """Return whether an output has a mark during a scan: a regular file in a resumable format."""
    return is_resumable(name) and is_regular(file)


def is_regular(file: str) -> bool:
    """Return whether a path is a regular or new file; pipes and device paths cannot be resumed."""
    if os.path.abspath(file).startswith(_DEVICES):
        return False
    return os.path.isfile(file) or not os.path.exists(file)


def mark_of(file: str) -> Path:
    """Return the path of the mark of an output, beside the file itself, not beside a link to it."""
    return Path(f"{os.path.realpath(file) if os.path.islink(file) else file}.unfinished")


def write_mark(mark: Path, made_by: Mapping[str, object]) -> None:
    """Write the settings of a scan into a mark."""
    with atomic_write(mark) as partial:
        partial.write_text(json.dumps(made_by), encoding="utf-8")


def changed_settings(mark: Path, made_by: Mapping[str, object]) -> str:
    """Return the names of settings that differ from those in a mark, for a message; an empty mark has none of them.

    Raises:
        OSError: If the mark cannot be read.
    """
    try:
        before: Any = json.loads(mark.read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    return ", ".join(key for key in made_by if before.get(key, "") != made_by[key])


def is_own(path: Path, keys: Collection[str] = MARK_KEYS) -> bool:
    """Return whether a file is a mark, or another JSON object with these keys; an empty file counts as one."""
    try:
        text = path.read_bytes() if os.path.isfile(path) else b"[]"
        return not text or {*keys} <= json.loads(text).keys()
    except (OSError, ValueError, AttributeError):
        return False


def head_of(file: str) -> bytes:
    """Return the first bytes of a file, by which a report is recognised."""
    with open(file, "rb") as stream:
        return stream.read(HEAD)


def key_of(path: str) -> str:
    """Return a URI, or a key that is equal for all spellings of a path."""
    return path if is_uri(path) else path_key(path)


def _unfinished(file: str, name: str, made_by: dict[str, object]) -> list[tuple[Finding, int]] | None:
    """Return the complete rows of an output, each with its end offset in bytes; None without an output."""
    if not os.path.exists(file):
        return None
    try:
        changed = changed_settings(mark_of(file), made_by)
    except OSError:
        raise UsageError(f"--resume: {file} is not an unfinished scan; delete it to start over") from None
    if changed:
        raise UsageError(f"--resume: {file} was written with a different {changed}; delete it to start over")
    try:
        return [(Finding.from_record(record), place) for record, place in report_class(name).complete_records(file)]
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"--resume: {file} has a row that hidascan did not write; delete it to start over") from None

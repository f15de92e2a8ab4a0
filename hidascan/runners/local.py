"""Run a scan on this machine: paths -> findings -> reports -> exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hidascan.errors import ExitCode, HidascanError
from hidascan.finding import Finding
from hidascan.printable import complain
from hidascan.progress import ScanProgress
from hidascan.report import resume
from hidascan.report.reporter import Report
from hidascan.scanner import Scanner


@dataclass(frozen=True)
class Task:
    """What a runner is asked to do.

    Attributes:
        paths: Files and folders.
        outputs: Names of files whose scan can be resumed.
        strict: Whether unreadable files win over AI found in the exit code.
        quiet: Whether to show no progress.
    """

    paths: Iterable[str]
    outputs: list[str]
    strict: bool = False
    quiet: bool = False


def run_scan(scanner: Scanner, task: Task, reports: list[Report], before: resume.Finished) -> ExitCode:
    """Scan, and tell every report of each finding at once; what was written stays whole if the scan is interrupted."""
    progress = ScanProgress(hidden=task.quiet)
    found_ai, failed = before.found_ai, before.failed
    try:
        for finding in scanner.scan(task.paths, progress.on_batch, before.paths):
            with progress.reporting():
                found_ai |= finding.verdict == "ai"
                failed |= not _report(reports, finding)
    finally:
        progress.close()
        for report in reports:
            report.close()
    resume.end(task.outputs)
    if found_ai and not (failed and task.strict):
        return ExitCode.AI_FOUND
    return ExitCode.UNREADABLE_FILES if failed else ExitCode.NOTHING_FOUND


def _report(reports: list[Report], finding: Finding) -> bool:
    """Tell every report; return False if the file could not be read or something about it not be written."""
    if finding.error:
        complain(f"{finding.path}: {finding.error}")
    complete = finding.status == "ok"
    for report in reports:
        try:
            report.add(finding)
        except HidascanError as error:
            complete = False
            complain(f"{finding.path}: {error}")
    return complete

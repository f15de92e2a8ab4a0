"""Run a scan on this machine: paths -> findings -> reports -> exit code."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from hidascan.errors import ExitCode, HidascanError
from hidascan.finding import Finding
from hidascan.image.folders import Survey
from hidascan.printable import complain
from hidascan.progress import ScanProgress
from hidascan.report import resume
from hidascan.report.reporter import Report
from hidascan.scanner import Scanner


@dataclass(frozen=True)
class Task:
    """Task of a runner.

    Attributes:
        paths: Files, as `hidascan.image.sources.expand` yields them.
        outputs: Paths of resumable outputs.
        strict: Whether unreadable files take precedence over AI found in the exit code.
        quiet: Whether to show no progress.
        survey: Summary of skipped files, complete once all files are known.
    """

    paths: Iterable[str]
    outputs: list[str]
    strict: bool = False
    quiet: bool = False
    survey: Survey = field(default_factory=Survey)


def run_scan(scanner: Scanner, task: Task, reports: list[Report], before: resume.EarlierResults) -> ExitCode:
    """Scan, and add each finding to every report at once, so that reports stay valid after an interruption.

    A folder or list without anything to scan counts as unreadable.
    """
    progress = ScanProgress(hidden=task.quiet)
    found_ai, failed = before.found_ai, before.failed
    with ExitStack() as closing:  # close every report, even if closing another one fails
        for report in reports:
            closing.callback(report.close)
        closing.callback(progress.close)
        files = (path for path in task.paths if path not in before.paths)
        for finding in scanner.scan_files(files, progress.on_batch):
            with progress.reporting():
                found_ai |= finding.verdict == "ai"
                failed |= not _report(reports, finding)
    resume.end(task.outputs)
    failed |= report_survey(task.survey, task.quiet)
    if found_ai and not (failed and task.strict):
        return ExitCode.AI_FOUND
    return ExitCode.UNREADABLE_FILES if failed else ExitCode.NOTHING_FOUND


def report_survey(survey: Survey, quiet: bool) -> bool:
    """Report skipped files on stderr; return whether a folder or list had nothing to scan."""
    for line in survey.lines(quiet):
        complain(line)
    return bool(survey.empty)


def _report(reports: list[Report], finding: Finding) -> bool:
    """Add a finding to every report; return False if the file was unreadable or a report failed."""
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

"""The one loop over Findings, wherever they are made: progress, complaints, reports, resuming, exit code."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice

from tqdm import tqdm

from hidascan.errors import ExitCode, HidascanError, UsageError, reason_of
from hidascan.finding import Finding, RunInfo
from hidascan.image.folders import Survey
from hidascan.image.identity import identify
from hidascan.options import ScanOptions
from hidascan.outputs import check_outputs
from hidascan.printable import print_to_stderr
from hidascan.report import report_class, resume
from hidascan.report.heatmap import HeatmapReport
from hidascan.report.reporter import Report, TextReport, lock, output_folder
from hidascan.report.shards import ShardReport
from hidascan.report.terminal import PLAIN, FormattedLines, Terminal
from hidascan.report.xmp_report import XmpReport
from hidascan.request import Reports, Request
from hidascan.runner_registry import RUNNERS

File = tuple[int, str]  # key and path
RunnerFunction = Callable[[ScanOptions, Iterable[File], "Run"], Generator[Finding, None, None]]


def run_scan(request: Request) -> ExitCode:
    """Scan, and add each finding to every report at once, so that reports stay valid after an interruption.

    A folder or list without anything to scan counts as unreadable.
    """
    _check_working_folder()
    with ExitStack() as stack:  # close every report, even if closing another one fails
        run = Run(request, stack)
        findings = _runner(request.runner)
        for finding in stack.enter_context(closing(findings(request.options, run.files(), run))):
            run.add(finding)
        run.is_complete = True
    return run.end()


class Run:
    """State of a scan.

    Attributes:
        request: Request of the scan.
        progress: Progress bar, from `begin` on.
        is_complete: True once every file has its finding.
    """

    def __init__(self, request: Request, stack: ExitStack):
        """Check the outputs; `stack` closes the reports.

        Raises:
            UsageError: If an output would destroy a file.
        """
        self.request = request
        self._resumable = resume.resumable(request.reports.files, request.resume and request.reports.shards is None)
        request.inputs.check_lists()
        check_outputs(request)
        self._stack, self._survey = stack, Survey()
        self._reports: list[Report] = []
        self._shards: ShardReport | None = None
        self._earlier: set[str] = set()
        self._inputs: Iterator[str] = iter(())
        self._found_ai = self._failed = self.is_complete = False

    def begin(self, info: RunInfo) -> None:
        """Open the reports, or continue those of an interrupted scan.

        Raises:
            UsageError: If the scanners cannot give what the reports need, or the reports cannot be continued.
        """
        wanted, again = self.request.reports, self.request.resume
        if wanted.has_heatmaps and not info.has_heatmap:
            raise UsageError(f"--heatmap: the detector {info.detector} of these weights produces no heatmap")
        settings = {
            **info.fingerprint(),
            "content of --c2pa-trust": _digest_of(info.options.c2pa_trust),  # its path alone may stay the same
            "working folder": self.request.inputs.folder(),
        }
        for file, _ in wanted.files:
            if file != "-" and os.path.isfile(file):
                with open(file, "rb+") as stream:
                    lock(stream)  # refuses a report that another scan writes, before any mark or report is changed
        for folder, option in wanted.folders():  # before a report is marked or emptied
            output_folder(folder, option)
        self._inputs = self.request.inputs.files(self._survey)
        if any(os.path.isfile(file) for file, _ in wanted.files):  # which an unreadable list on stdin must not empty
            self._inputs = chain([*islice(self._inputs, 1)], self._inputs)
        if wanted.shards is not None:  # may be refused, too
            self._shards = ShardReport(wanted.shards, info, settings, again)
        complete = resume.complete_outputs(self._resumable)
        earlier = resume.begin(self._resumable, settings, again)
        try:
            for report in _opened(wanted, info, earlier.resuming):
                self._add_report(report)
        except BaseException:
            resume.end([file for file, size in complete.items() if os.path.getsize(file) == size])  # is still complete
            raise
        if self._shards is not None:
            self._add_report(self._shards)
            earlier = self._shards.earlier
        self._earlier = {resume.key_of(path) for path in earlier.paths}
        self._found_ai, self._failed = earlier.found_ai, earlier.failed
        self.progress = ScanProgress(hidden=wanted.quiet)
        self._stack.callback(self.progress.close)  # the first to be closed, as reports may print

    def files(self) -> Iterator[File]:
        """Yield the files without a row; the key is the position among all inputs, the same if a scan is resumed."""
        for key, path in enumerate(self._inputs):
            if resume.key_of(path) not in self._earlier:
                yield key, path

    def add(self, finding: Finding) -> None:
        """Add a finding to every report; an unreadable file and a failed report cost a line on stderr."""
        with self.progress.reporting():
            if finding.error:
                print_to_stderr(f"{finding.path}: {finding.error}")
            self._found_ai |= finding.verdict == "ai"
            self._failed |= finding.status != "ok"
            for report in self._reports:
                try:
                    report.add(finding)
                except HidascanError as error:
                    self._failed = True
                    print_to_stderr(f"{finding.path}: {error}")

    def end(self) -> ExitCode:
        """Mark the reports as complete, list skipped files on stderr, and return the exit code."""
        reports = self.request.reports
        resume.end(self._resumable)
        summary = self._shards.end() if self._shards is not None else ""
        if summary and not reports.quiet and not reports.uses_stdout:
            print(summary)
        for line in self._survey.lines(reports.quiet):
            print_to_stderr(line)
        failed = self._failed or bool(self._survey.empty)
        if self._found_ai and not (failed and self.request.strict):
            return ExitCode.AI_FOUND
        return ExitCode.UNREADABLE_FILES if failed else ExitCode.NOTHING_FOUND

    def _add_report(self, report: Report) -> None:
        self._reports.append(report)
        self._stack.callback(self._close, report)

    def _close(self, report: Report) -> None:
        if isinstance(report, TextReport):
            report.interrupted = not self.is_complete
        report.close()


def _runner(name: str) -> RunnerFunction:
    try:
        findings: RunnerFunction = pkgutil.resolve_name(RUNNERS[name].function)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "hidascan":
            raise  # a mistake in the runner, not a missing extra
        raise UsageError(f"--runner {name} needs {error.name}: pip install 'hidascan[{name}]'") from None
    return findings


def _digest_of(path: str | None) -> str:
    """Return the SHA-256 of a file, "" for None."""
    found = None if path is None else identify(path)
    return found.sha256 if found else ""


def _opened(wanted: Reports, info: RunInfo, append: bool) -> Iterator[Report]:
    # Heatmaps and sidecars first: a file that has a row is not scanned again when the scan is resumed. Then new files: if
    # one cannot be written, no earlier report has been emptied.
    heatmaps: tuple[HeatmapReport, ...] = ()
    if wanted.has_heatmaps:
        heatmaps = (HeatmapReport(wanted.heatmap_dir, wanted.heatmap, wanted.heatmap_raw, info),)
    yield from heatmaps
    if wanted.xmp is not None:
        yield XmpReport(wanted.xmp, info)
    for file, name in sorted(wanted.files, key=lambda one: os.path.exists(one[0])):
        settings = {"case": wanted.case} if wanted.case and name == "html" else {}
        yield report_class(name)(file, info, append, **settings)
    if wanted.lines and wanted.line_format is None and sys.stdout.isatty():
        yield Terminal(info, wanted.verbose, heatmaps)
    elif wanted.lines:
        yield FormattedLines(PLAIN if wanted.line_format is None else wanted.line_format)


def _check_working_folder() -> None:
    """Check that relative paths can be resolved.

    Raises:
        UsageError: If the working folder no longer exists.
    """
    try:
        os.getcwd()
    except OSError as error:
        reason = "no longer exists" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason_of(error)})"
        raise UsageError(f"the current folder {reason}: change to another one with cd") from None


class ScanProgress:
    """A progress bar that counts finished views and reported images."""

    def __init__(self, hidden: bool):
        self._bar = tqdm(unit=" views", desc="scanning", disable=True if hidden else None, leave=False)
        self._images = 0

    def on_batch(self, views: int) -> None:
        """Count views."""
        self._bar.update(views)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Hide the bar while a row is written."""
        self._images += 1
        with tqdm.external_write_mode():
            yield
        self._bar.set_postfix_str(f"{self._images} image{'s' * (self._images != 1)}", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

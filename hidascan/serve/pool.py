"""Share one scanner among many clients: batches across requests, without waiting for full ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Queue
from typing import NamedTuple

from hidascan.finding import Finding
from hidascan.options import ScanOptions
from hidascan.scanner import Scanner

# Gets a Finding, with a preliminary verdict once there is one, and the numbers of views that were run and are still to
# be run.
OnProgress = Callable[[Finding, int, int], None]


class Busy(Exception):
    """Too many queued files."""


class _Submission(NamedTuple):
    future: Future[Finding]
    on_progress: OnProgress | None
    options: ScanOptions


class ScanPool:
    """Scans files in a separate thread, in the order of submission."""

    def __init__(self, scanner: Scanner, waiting: int):
        """Start.

        Args:
            scanner: Scanner of the files.
            waiting: Maximum number of files without a finding.
        """
        self.scanner, self._most = scanner, waiting
        self._queue: Queue[str | None] = Queue()
        self._submitted: dict[str, _Submission] = {}  # neither done nor cancelled
        self._lock, self._run, self._closed = threading.Lock(), 0, False
        self._thread = threading.Thread(target=self._work, name="scan", daemon=True)
        self._thread.start()

    def submit(
        self, path: str, on_progress: OnProgress | None = None, options: ScanOptions | None = None
    ) -> Future[Finding]:
        """Submit a file. Cancelling its future stops its scan, even one in progress.

        Args:
            path: Path of the file, unique.
            on_progress: Callback that gets the progress, in the thread of the scan; None for none.
            options: Options of the file, those of a configuration by `Scanner.run_with`; None for those of the scanner.

        Raises:
            Busy: If too many files are queued.
        """
        future: Future[Finding] = Future()
        with self._lock:
            if len(self._submitted) >= self._most:
                raise Busy
            self._submitted[path] = _Submission(future, on_progress, options or self.scanner.run.options)
        future.add_done_callback(lambda done: self._forget(path))
        self._queue.put(path)
        return future

    def waiting(self) -> int:
        """Return the number of submitted files without a finding."""
        with self._lock:
            return len(self._submitted)

    def close(self) -> None:
        """Finish all submitted files, and stop."""
        self._queue.put(None)
        self._thread.join()

    def _forget(self, path: str) -> None:
        with self._lock:
            self._submitted.pop(path, None)

    def _paths(self, run: int) -> Iterator[str]:
        while (path := self._queue.get()) is not None:
            if run != self._run:  # this run has failed; the file belongs to the next one
                self._queue.put(path)
                return
            if path in self._submitted:
                yield path
        self._closed = True

    def _watch(self, finding: Finding, run: int, missing: int) -> bool:
        """Report the progress of a file; return whether it is still wanted."""
        submission = self._submitted.get(finding.path)
        if submission and submission.on_progress:
            submission.on_progress(finding, run, missing)
        return submission is not None

    def _options(self, path: str) -> ScanOptions:
        """Return the options of a file; those of the scanner for a cancelled one."""
        submission = self._submitted.get(path)
        return submission.options if submission else self.scanner.run.options

    def _work(self) -> None:
        while not self._closed:
            try:
                for finding in self.scanner.scan_files(
                    self._paths(self._run), watch=self._watch, options_of=self._options
                ):
                    submission = self._submitted.get(finding.path)
                    if submission and submission.future.set_running_or_notify_cancel():
                        submission.future.set_result(finding)
            except Exception as error:  # passed to waiting clients; the service continues
                self._run += 1
                with self._lock:
                    pending = list(self._submitted.values())
                for submission in pending:
                    with suppress(Exception):
                        submission.future.set_exception(error)

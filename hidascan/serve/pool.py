"""Share one scanner among many clients: batches across requests, without waiting for full ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Queue

from hidascan.finding import Finding
from hidascan.scanner import Scanner


class Busy(Exception):
    """Too many queued files."""


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
        self._futures: dict[str, Future[Finding]] = {}
        self._lock, self._run, self._closed = threading.Lock(), 0, False
        self._thread = threading.Thread(target=self._work, name="scan", daemon=True)
        self._thread.start()

    def submit(self, path: str) -> Future[Finding]:
        """Submit a file; each path must be unique.

        Raises:
            Busy: If too many files are queued.
        """
        future: Future[Finding] = Future()
        with self._lock:
            if len(self._futures) >= self._most:
                raise Busy
            self._futures[path] = future
        self._queue.put(path)
        return future

    def waiting(self) -> int:
        """Return the number of submitted files without a finding."""
        with self._lock:
            return len(self._futures)

    def close(self) -> None:
        """Finish all submitted files, and stop."""
        self._queue.put(None)
        self._thread.join()

    def _paths(self, run: int) -> Iterator[str]:
        while (path := self._queue.get()) is not None:
            if run != self._run:  # this run has failed; the file belongs to the next one
                self._queue.put(path)
                return
            yield path
        self._closed = True

    def _work(self) -> None:
        while not self._closed:
            try:
                for finding in self.scanner.scan_files(self._paths(self._run)):
                    self._future(finding.path).set_result(finding)
            except Exception as error:  # passed to waiting clients; the service continues
                self._run += 1
                with self._lock:
                    pending, self._futures = list(self._futures.values()), {}
                for future in pending:
                    with suppress(Exception):
                        future.set_exception(error)

    def _future(self, path: str) -> Future[Finding]:
        with self._lock:
            future = self._futures.pop(path)
        return future if future.set_running_or_notify_cancel() else Future()

"""Share one scanner among many clients: batches across requests, and their progress as server-sent events."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from queue import Queue
from typing import Any, NamedTuple

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hidascan.finding import Finding
from hidascan.options import ScanOptions
from hidascan.printable import print_to_stderr
from hidascan.scanner import Scanner
from hidascan.serve.requests import Upload

OnProgress = Callable[[Finding, int, int], None]  # as `scanner.Watch`, without an answer
EVENTS = "text/event-stream"
_HEARTBEAT = 1.0  # seconds between signs of life, by which a closed connection is noticed


class Busy(Exception):
    """Too many queued files."""


class _Submission(NamedTuple):
    future: Future[Finding]
    on_progress: OnProgress | None
    options: ScanOptions


class ScanQueue:
    """Scans files in a separate thread, in the order of submission."""

    def __init__(self, scanner: Scanner, waiting: int):
        """Start; at most `waiting` files may be without a finding."""
        self.scanner, self._most = scanner, waiting
        self._queue: Queue[str | None] = Queue()
        self._submitted: dict[str, _Submission] = {}  # neither done nor cancelled
        self._lock, self._generation = threading.Lock(), 0
        self._thread = threading.Thread(target=self._work, name="scan", daemon=True)
        self._thread.start()

    def submit(
        self, path: str, on_progress: OnProgress | None = None, options: ScanOptions | None = None
    ) -> Future[Finding]:
        """Submit a file under a unique path. Cancelling its future stops its scan, even one in progress.

        `on_progress` is called in the thread of the scan. `options` are those of `Scanner.info_with`; None for the
        scanner's own.

        Raises:
            Busy: If too many files are queued.
        """
        future: Future[Finding] = Future()
        with self._lock:
            if len(self._submitted) >= self._most:
                raise Busy
            self._submitted[path] = _Submission(future, on_progress, options or self.scanner.info.options)
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

    def _paths(self, generation: int, path: str | None) -> Iterator[str]:
        """Yield a path and all that follow until the queue is closed or this generation fails."""
        while path is not None and generation == self._generation:
            if path in self._submitted:
                yield path
            path = self._queue.get()
        self._queue.put(path)

    def _watch(self, finding: Finding, encoded: int, missing: int) -> bool:
        """Report the progress of a file; return whether it is still wanted."""
        submission = self._submitted.get(finding.path)
        if submission and submission.on_progress:
            submission.on_progress(finding, encoded, missing)
        return submission is not None

    def _options(self, path: str) -> ScanOptions:
        """Return the options of a file; those of the scanner for a cancelled one."""
        submission = self._submitted.get(path)
        return submission.options if submission else self.scanner.info.options

    def _work(self) -> None:
        while (path := self._queue.get()) is not None:
            try:
                paths = self._paths(self._generation, path)
                for finding in self.scanner.scan_files(paths, watch=self._watch, options_of=self._options):
                    submission = self._submitted.get(finding.path)
                    if submission and submission.future.set_running_or_notify_cancel():
                        submission.future.set_result(finding)
            except Exception as error:  # passed to waiting clients; the service continues
                self._generation += 1
                with self._lock:
                    pending = list(self._submitted.values())
                for submission in pending:
                    with suppress(Exception):
                        submission.future.set_exception(error)


class EventStream(StreamingResponse):
    """Response that reports a scan; when it ends, also by a closed connection, what still runs is cancelled."""

    def __init__(
        self,
        submit: Callable[..., Future[Finding]],
        uploads: list[Upload],
        line: Callable[[Upload, Finding], Awaitable[dict[str, Any]]],
        at_end: Callable[[], None],
    ):
        """Submit the files; `line` builds the data of a `row` event, `at_end` is called when none is needed any more.

        Raises:
            Busy: If too many files are queued.
        """
        self._uploads, self._line, self._at_end = uploads, line, at_end
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._futures: list[Future[Finding]] = []
        try:
            for number, upload in enumerate(uploads):
                self._futures.append(submit(str(upload.path), self._progress_of(number)))
        except BaseException:
            self._cancel()
            raise
        super().__init__(
            self._stream(), media_type=EVENTS, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._cancel()
            self._at_end()

    def _cancel(self) -> None:
        for future in self._futures:
            future.cancel()

    def _progress_of(self, number: int) -> OnProgress:
        """Return the callback of one file, which turns numbers of views into an event with the time left."""
        started = 0.0

        def report(finding: Finding, encoded: int, missing: int) -> None:
            nonlocal started
            now = time.monotonic()
            started = started or now
            patches = finding.patches or 0
            progress = {
                "state": "scanning",
                "done": max(0, patches - missing),
                "patches": patches,
                "seconds_left": round((now - started) * missing / encoded, 1) if encoded else None,
                "verdict": finding.verdict,
                "score": finding.score,
            }
            self._loop.call_soon_threadsafe(self._events.put_nowait, _event("progress", number, progress))

        return report

    async def _stream(self) -> AsyncIterator[str]:
        for number in range(len(self._uploads)):
            yield _event("progress", number, {"state": "waiting"})
        rows = [asyncio.create_task(self._row(number)) for number in range(len(self._uploads))]
        try:
            while not (self._events.empty() and all(row.done() for row in rows)):
                try:
                    yield await asyncio.wait_for(self._events.get(), _HEARTBEAT)
                except TimeoutError:
                    yield ": scanning\n\n"
        finally:
            for row in rows:
                row.cancel()

    async def _row(self, number: int) -> None:
        """Put the last event of a file into the queue."""
        try:
            finding = await asyncio.wrap_future(self._futures[number])
            event = _event("row", number, await self._line(self._uploads[number], finding))
        except Exception as error:
            print_to_stderr(f"unexpected {type(error).__name__}: {error}")
            event = _event("failed", number, {"error": "internal error: see the terminal of hidascan serve"})
        self._events.put_nowait(event)


def _event(name: str, number: int, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'file': number, **data})}\n\n"

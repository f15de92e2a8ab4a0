"""Server-sent events: the progress of a scan, and each finished row."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hidascan.finding import Finding
from hidascan.printable import complain
from hidascan.serve.pool import OnProgress
from hidascan.serve.uploads import Upload

EVENTS = "text/event-stream"
_HEARTBEAT = 1.0  # seconds between signs of life, by which a closed connection is noticed


class EventStream(StreamingResponse):
    """Response that reports a scan; when it ends, also by a closed connection, what still runs is cancelled."""

    def __init__(
        self,
        submit: Callable[..., Future[Finding]],
        uploads: list[Upload],
        line: Callable[[Upload, Finding], Awaitable[dict[str, Any]]],
        at_end: Callable[[], None],
    ):
        """Submit the files.

        Args:
            submit: Submission of a path, with a callback, to the pool.
            uploads: Files.
            line: Builder of the data of a `row` event.
            at_end: Callback for when nothing needs the files any more.

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
        super().__init__(self._stream(), media_type=EVENTS, headers={"Cache-Control": "no-store"})

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

        def report(finding: Finding, run: int, missing: int) -> None:
            nonlocal started
            now = time.monotonic()
            started = started or now
            patches = finding.patches or 0
            progress = {
                "state": "scanning",
                "done": max(0, patches - missing),
                "patches": patches,
                "seconds_left": round((now - started) * missing / run, 1) if run else None,
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
            complain(f"unexpected {type(error).__name__}: {error}")
            event = _event("failed", number, {"error": "internal error: see the terminal of hidascan serve"})
        self._events.put_nowait(event)


def _event(name: str, number: int, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps({'file': number, **data})}\n\n"

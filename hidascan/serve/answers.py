"""Answer a request with files: receive them, scan or draw them, and delete them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hidascan.errors import ImageError
from hidascan.finding import Finding, RunInfo
from hidascan.printable import printable
from hidascan.serve import pages
from hidascan.serve.requests import Limits, Upload, delete, receive
from hidascan.serve.scan_queue import EVENTS, Busy, EventStream, ScanQueue

LINES, PAGE_LINES = "application/x-ndjson", "application/vnd.hidascan.page+x-ndjson"
_RETRY_AFTER = "5"  # seconds


def wants_html(request: Request) -> bool:
    """Return whether a form without JavaScript was sent: only browsers ask for HTML."""
    return request.method == "POST" and "text/html" in request.headers.get("accept", "")


async def scan_response(
    request: Request, queue: ScanQueue, limits: Limits, *, folder: Path, keep: bool, run: RunInfo
) -> Response:
    """Receive and scan the files of a request; answer with JSON lines, a page, or an event stream.

    Args:
        request: Request with the files.
        queue: Queue of the scanner.
        limits: Limits on size and time.
        folder: Folder of the uploads.
        keep: Whether to keep complete uploads after the response; incomplete ones are always deleted.
        run: Configuration of the scan of these files.
    """
    accepted, submit = request.headers.get("accept", ""), partial(queue.submit, options=run.options)
    uploads: list[Upload] = []
    with_pages = PAGE_LINES in accepted or wants_html(request)
    at_end = partial(delete, () if keep else uploads)

    async def line(upload: Upload, finding: Finding) -> dict[str, Any]:
        return await asyncio.to_thread(pages.line, run, upload, finding, with_pages, uploads.index(upload))

    streams = received = False
    try:
        if queue.waiting() >= limits.waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(_drained(request), limits.seconds)  # else a client sees a reset and no answer
            raise Busy
        await _received(request, folder, limits, uploads)
        received = True
        if EVENTS in accepted:
            stream = EventStream(submit, uploads, line, at_end)
            streams = True
            return stream
        findings = await _cancel_on_disconnect(request, _findings(submit, uploads, limits.seconds))
        lines = [await line(*pair) for pair in zip(uploads, findings, strict=True)]
    except Busy:
        delete(uploads)  # even if uploads are kept: the client sends them again
        raise HTTPException(429, "too many queued files", headers={"Retry-After": _RETRY_AFTER}) from None
    except ClientDisconnect:  # nothing to answer
        return Response(status_code=400)
    finally:
        if not received:
            delete(uploads)  # even if uploads are kept: they are incomplete
        elif not streams:
            at_end()
    if wants_html(request):
        return HTMLResponse(pages.results(run, lines))
    text = "".join(json.dumps(one if with_pages else one["row"]) + "\n" for one in lines)
    return Response(text, media_type=PAGE_LINES if with_pages else LINES)


async def _drained(request: Request) -> None:
    """Receive a body, and forget it."""
    async for _ in request.stream():
        pass


async def _received(request: Request, folder: Path, limits: Limits, uploads: list[Upload]) -> None:
    try:
        await asyncio.wait_for(receive(request, folder, limits, uploads), limits.seconds)
    except TimeoutError:
        raise HTTPException(408, "the request body was not received in time") from None


async def _cancel_on_disconnect(request: Request, scan: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    """Return the result of a scan; if the client closes the connection first, cancel it and raise ClientDisconnect."""
    tasks = scanning, _ = asyncio.create_task(scan), asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not scanning.done():
            raise ClientDisconnect
        return scanning.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    """Wait until a client that has sent its whole request closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _findings(submit: Callable[..., Future[Finding]], uploads: list[Upload], seconds: float) -> list[Finding]:
    """Scan files; one that is not finished in time has an error, and the request has if none is."""
    late = f"not finished within the time limit of {seconds:g} seconds"
    futures = []
    try:
        for upload in uploads:
            futures.append(asyncio.wrap_future(submit(str(upload.path))))
        done, _ = await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        if not done:
            raise HTTPException(504, "the scan did not finish in time")
        for failed in [future for future in done if future.exception()]:
            failed.result()
        return [
            future.result() if future in done else Finding(str(upload.path), "error", error=late)
            for future, upload in zip(futures, uploads, strict=True)
        ]
    finally:
        for future in futures:
            future.cancel()


async def drawing_response(
    request: Request, limits: Limits, app: FastAPI, *, files: int, draw: Callable[..., bytes], kind: str
) -> Response:
    """Answer with a picture drawn from the uploaded files, which are never kept.

    Args:
        request: Request with the files.
        limits: Limits on size and time.
        app: Application, with the folder of uploads and the semaphore of drawings.
        files: Number of files that the drawing needs.
        draw: Function from these uploads to the picture.
        kind: MIME type of the picture.
    """
    uploads: list[Upload] = []
    try:
        await _received(request, app.state.folder, limits, uploads)
        if len(uploads) != files:
            raise HTTPException(400, f"send {files} files, not {len(uploads)}")
        async with app.state.drawing:
            return Response(await asyncio.to_thread(draw, *uploads), media_type=kind)
    except ClientDisconnect:
        return Response(status_code=400)
    except (ImageError, cv2.error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise HTTPException(400, f"cannot draw this picture: {printable(str(error)[:200])}") from None
    finally:
        delete(uploads)

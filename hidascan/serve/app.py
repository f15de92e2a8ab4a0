"""The web page and the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from hidascan.errors import UsageError
from hidascan.finding import RunInfo
from hidascan.printable import printable
from hidascan.serve import pages
from hidascan.serve.answers import LINES, drawing_response, scan_response, wants_html
from hidascan.serve.requests import ADVICE, LOOPBACK, Guard, Limits
from hidascan.serve.scan_queue import EVENTS, ScanQueue
from hidascan.temporary import temporary_folder

_MESSAGES = {
    404: "not found: POST pictures to /v1/scan",
    405: f"method not allowed; {ADVICE}",
}
_PARAMETERS = {"/v1/scan": {"profile", "stress"}, "/v1/report-frame": {"made", "profile"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {LINES: {}, EVENTS: {}},
        "description": "One row per file, in order, as in `hidascan --jsonl`. With `Accept: text/event-stream`: events "
        "`progress` and one `row` or `failed` per file, once it is ready; closing the connection cancels the rest.",
    },
    400: {
        "description": "No file, too many files, neither a form nor a picture, unknown query parameters, or a profile "
        "that is unknown or ruled out by the options of the service."
    },
    401: {"description": "Bearer token required."},
    408: {"description": "The request body was not received in time."},
    413: {"description": "The request body is too large."},
    429: {"description": "Too many queued files: retry after the seconds in Retry-After."},
    504: {"description": "No file was finished in time; if some were, the others have an error in their rows."},
}


def _refuse_options(request: Request) -> None:
    """Refuse query parameters, which would be silently ignored: options are set when the service starts."""
    unknown = [name for name in request.query_params if name not in _PARAMETERS.get(request.url.path, ())]
    if unknown:
        names = printable(", ".join(unknown)[:200])
        raise HTTPException(400, f"unknown query parameters ({names}): set options when starting hidascan serve")


def make_app(queue: ScanQueue, limits: Limits, keep: Path | None = None, local: bool = True) -> FastAPI:
    """Build the application; `local` states whether it is bound to a loopback address.

    Uploads are kept in the folder `keep`, or deleted after the response if it is None.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with temporary_folder() as folder:
            app.state.folder = keep or folder
            app.state.drawing = asyncio.Semaphore(2)
            yield
            await asyncio.to_thread(queue.close)

    app = FastAPI(
        title="hidascan",
        version=queue.scanner.info.version,
        lifespan=lifespan,
        docs_url=None,  # these pages would load external scripts
        redoc_url=None,
        redirect_slashes=False,  # few clients repeat a form after a redirect
        dependencies=[Depends(_refuse_options)],
    )
    _add_page(app, queue, limits, keep is not None, local)
    _add_api(app, queue, limits, keep is not None)
    _add_errors(app)
    app.add_middleware(Guard, limits=limits, answer=_problem)
    return app


def _add_api(app: FastAPI, queue: ScanQueue, limits: Limits, keeps: bool) -> None:
    """Add the routes of the HTTP API."""
    info = queue.scanner.info

    @app.get("/v1/health")
    async def health() -> dict[str, Any]:
        """Report that the service is up, and the number of queued files."""
        return {"status": "ok", "waiting": queue.waiting()}

    @app.get("/v1/model")
    async def model() -> dict[str, Any]:
        """Report the weights and their thresholds."""
        return {
            **info.record(),
            "ai_from": info.ai_from,
            "real_below": info.real_below,
            "has_heatmap": info.has_heatmap,
        }

    @app.post("/v1/scan", responses=_RESPONSES, openapi_extra=_BODY)
    async def scan(request: Request, profile: str | None = None, stress: bool = False) -> Response:
        """Scan the files of a multipart form, or the picture in the request body; return one JSON line per file.

        `profile` (low-fpr, balanced, high-recall) replaces that of the service for these files; `stress` repeats the
        test on re-saved, resized and cropped copies.
        """
        return await scan_response(
            request, queue, limits, folder=app.state.folder, keep=keeps, run=_info_of(queue, profile, stress)
        )


def _add_errors(app: FastAPI) -> None:
    """Add the answers to errors."""

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        generic = error.detail == HTTPStatus(error.status_code).phrase
        words = _MESSAGES.get(error.status_code, error.detail) if generic else error.detail
        return _problem(request, error.status_code, words, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        words = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return await http_error(request, HTTPException(400, printable(words[:200])))


def _problem(request: Request, status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error: with JSON, or with a page if a form without JavaScript was sent."""
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if wants_html(request):
        return HTMLResponse(pages.message(words.removesuffix(f"; {ADVICE}")), status, headers=headers)
    return JSONResponse({"error": words}, status, headers=headers)


def _info_of(queue: ScanQueue, profile: str | None, stress: bool = False) -> RunInfo:
    """Return the configuration of the scans of a request."""
    try:
        return queue.scanner.info_with(profile, stress) if profile is not None or stress else queue.scanner.info
    except UsageError as error:
        raise HTTPException(400, printable(str(error)[:200])) from None


def _add_page(app: FastAPI, queue: ScanQueue, limits: Limits, keeps: bool, local: bool) -> None:
    """Add the routes of the page."""
    info = queue.scanner.info
    fixed = info.options.threshold is not None or info.options.fast
    low_fpr = None if fixed else queue.scanner.info_with("low-fpr")
    if low_fpr and low_fpr.ai_from <= info.ai_from:
        low_fpr = None

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        policy = "default-src 'none'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self'"
        policy += "; connect-src 'self'; form-action 'self'; frame-ancestors 'none'"
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        alone = local and request.url.hostname in LOOPBACK  # not behind a proxy
        return HTMLResponse(pages.page(info, limits, alone, keeps, low_fpr), headers=headers)

    @app.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in pages.ASSETS:
            raise HTTPException(404)
        return Response(pages.asset(name), media_type=pages.ASSETS[name], headers={"Cache-Control": "no-cache"})

    @app.get("/v1/report-frame", include_in_schema=False)
    async def frame(made: str = "", profile: str | None = None) -> dict[str, Any]:
        parts = pages.frame(info, made[:40], None if profile is None else _info_of(queue, profile))
        return {**parts, "scan": info.record()}

    @app.post("/v1/preview", include_in_schema=False)
    async def preview(request: Request) -> Response:
        draw = partial(pages.preview, max_pixels=info.options.max_pixels)
        return await drawing_response(request, limits, app, files=1, draw=draw, kind="image/jpeg")

    @app.post("/v1/figure", include_in_schema=False)
    async def figure(request: Request) -> Response:
        draw = partial(pages.figure, run=info, threshold=queue.scanner.rule.calibration.localisation)
        return await drawing_response(request, limits, app, files=2, draw=draw, kind="image/png")

"""The web page and the HTTP API."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from hidascan.errors import ImageError
from hidascan.finding import Finding
from hidascan.printable import printable
from hidascan.report.html_report import pictures, render
from hidascan.serve.guard import Guard, Limits
from hidascan.serve.pool import Busy, ScanPool

LINES, PAGE_LINES = "application/x-ndjson", "application/vnd.hidascan.page+x-ndjson"
_RETRY_AFTER = "5"  # seconds
_ADVICE = (
    "send pictures as a form (curl -F file=@photo.jpg ADDRESS/v1/scan) or one as the body with Content-Type: image/jpeg"
)
_MESSAGES = {
    404: "not found: POST pictures to /v1/scan",
    405: f"method not allowed; {_ADVICE}",
}
_PARAMETERS = {"/v1/report-frame": {"made"}}
_DEFAULT_NAME = "upload"
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
    200: {"content": {LINES: {}}, "description": "One row per file, in order, as in `hidascan --jsonl`."},
    400: {"description": "No file, too many files, neither a form nor a picture, or unknown query parameters."},
    401: {"description": "Bearer token required."},
    408: {"description": "The request body was not received in time."},
    413: {"description": "The request body is too large."},
    429: {"description": "Too many queued files: retry after the seconds in Retry-After."},
    504: {"description": "The scan did not finish in time."},
}


@dataclass(frozen=True)
class _Upload:
    name: str
    path: Path


def _refuse_options(request: Request) -> None:
    """Refuse query parameters, which would be silently ignored: options are set when the service starts."""
    unknown = [name for name in request.query_params if name not in _PARAMETERS.get(request.url.path, ())]
    if unknown:
        names = printable(", ".join(unknown)[:200])
        raise HTTPException(400, f"unknown query parameters ({names}): set options when starting hidascan serve")


def make_app(pool: ScanPool, limits: Limits, keep: Path | None = None) -> FastAPI:
    """Build the application.

    Args:
        pool: Pool that scans.
        limits: Limits on requests.
        keep: Folder in which to keep uploads; None to delete them after the response.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="hidascan-") as folder:
            app.state.folder = keep or Path(folder)
            yield
            await asyncio.to_thread(pool.close)

    app = FastAPI(
        title="hidascan",
        version=pool.scanner.run.version,
        lifespan=life,
        docs_url=None,  # these pages would load external scripts
        redoc_url=None,
        redirect_slashes=False,  # few clients repeat a form after a redirect
        dependencies=[Depends(_refuse_options)],
    )
    run = pool.scanner.run

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        policy = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        text = render("serve.html", run=run, files=limits.files, token=bool(limits.token))
        headers = {"Content-Security-Policy": f"{policy}; connect-src 'self'; frame-ancestors 'none'"}
        return HTMLResponse(text, headers=headers | {"X-Content-Type-Options": "nosniff"})

    @app.get("/v1/health")
    async def health() -> dict[str, Any]:
        """Report that the service is up, and the number of queued files."""
        return {"status": "ok", "waiting": pool.waiting()}

    @app.get("/v1/model")
    async def model() -> dict[str, Any]:
        """Report the weights and their thresholds."""
        return {**run.record(), "ai_from": run.ai_from, "real_below": run.real_below, "has_heatmap": run.has_heatmap}

    @app.get("/v1/report-frame", include_in_schema=False)
    async def frame(made: str = "") -> dict[str, str]:
        return {"head": render("head.html", run=run, made=made[:40]), "tail": render("tail.html")}

    @app.post("/v1/scan", responses=_RESPONSES, openapi_extra=_BODY)
    async def scan(request: Request) -> Response:
        """Scan the files of a multipart form, or the picture in the request body; return one JSON line per file."""
        return await _answered(request, pool, limits, app.state.folder, keep is not None)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        generic = error.detail == HTTPStatus(error.status_code).phrase
        words = _MESSAGES.get(error.status_code, error.detail) if generic else error.detail
        return JSONResponse({"error": words}, error.status_code, headers=error.headers)

    app.add_middleware(Guard, limits=limits)
    return app


async def _answered(request: Request, pool: ScanPool, limits: Limits, folder: Path, keep: bool) -> Response:
    with_pages = PAGE_LINES in request.headers.get("accept", "")
    uploads: list[_Upload] = []
    try:
        await asyncio.wait_for(_receive(request, folder, limits, uploads), limits.seconds)
        findings = await _scanned(pool, uploads, limits.seconds)
        pairs = zip(uploads, findings, strict=True)
        lines = [await asyncio.to_thread(_line, pool, *pair, with_pages) for pair in pairs]
    except TimeoutError:
        raise HTTPException(408, "the request body was not received in time") from None
    except ClientDisconnect:  # nothing to answer
        return Response(status_code=400)
    finally:
        for upload in () if keep else uploads:
            upload.path.unlink(missing_ok=True)
    return Response("".join(lines), media_type=PAGE_LINES if with_pages else LINES)


async def _receive(request: Request, folder: Path, limits: Limits, uploads: list[_Upload]) -> None:
    """Write the pictures of a request into a folder, under generated names; list each upload before writing it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        await _receive_form(request, folder, limits, uploads)
    elif _is_picture(kind):
        await _receive_body(request, folder, uploads)
    else:
        raise HTTPException(
            400, f"{printable(kind[:100]) or 'no Content-Type'} is neither a form nor a picture; {_ADVICE}"
        )


async def _receive_form(request: Request, folder: Path, limits: Limits, uploads: list[_Upload]) -> None:
    try:
        form = await _FormParser(request.headers, request.stream(), max_files=limits.files, max_fields=10).parse()
    except MultiPartException as error:
        raise HTTPException(400, f"{error.message.rstrip('.').lower()}; {_ADVICE}") from None
    try:
        for field, part in form.multi_items():
            if not isinstance(part, UploadFile):
                raise HTTPException(
                    400, f"{printable(field[:100])} is not a file: the form accepts no options; {_ADVICE}"
                )
            if not part.filename and not part.size:
                continue  # a form field without a chosen file
            with _noted(part.filename, folder, uploads).open("wb") as file:
                await asyncio.to_thread(shutil.copyfileobj, part.file, file)
    finally:
        await form.close()
    if not uploads:
        raise HTTPException(400, f"no file in the form: each picture needs a part with filename=; {_ADVICE}")


async def _receive_body(request: Request, folder: Path, uploads: list[_Upload]) -> None:
    with _noted(_extended_name(request.headers.get("content-disposition", "")), folder, uploads).open("wb") as file:
        async for block in request.stream():
            await asyncio.to_thread(file.write, block)
    if not uploads[-1].path.stat().st_size:
        raise HTTPException(400, f"the request body is empty; {_ADVICE}")


def _noted(name: str | None, folder: Path, uploads: list[_Upload]) -> Path:
    """Add an upload to the list, and return the path to write it to."""
    name = Path(name or "").name
    name = _DEFAULT_NAME if name in ("", "..") else name
    uploads.append(_Upload(name, folder / (secrets.token_hex(16) + _suffix(name))))
    return uploads[-1].path


def _extended_name(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition, also in RFC 5987 form: filename*=UTF-8''%E2%82%AC.png."""
    header = Message()
    header["Content-Disposition"] = disposition
    name = header.get_filename()
    try:
        return name and name.encode("latin-1").decode()  # headers are decoded as Latin-1
    except UnicodeError:
        return name


class _FormParser(MultiPartParser):
    """Multipart parser that also accepts files marked only by `filename*` or their content type."""

    def on_headers_finished(self) -> None:
        part: Any = self._current_part
        disposition = part.content_disposition or b""
        name = None
        if b"filename" not in parse_options_header(disposition)[1]:
            name = _extended_name(disposition.decode("latin-1"))
            kinds = [
                value.decode("latin-1").lower() for header, value in part.item_headers if header == b"content-type"
            ]
            if name is None and any(map(_is_picture, kinds)):
                name = _DEFAULT_NAME
            if name is not None:
                part.content_disposition = disposition + b'; filename="' + _DEFAULT_NAME.encode() + b'"'
        super().on_headers_finished()
        if name is not None and part.file is not None:
            part.file.filename = name


def _is_picture(kind: str) -> bool:
    return kind.startswith("image/") or kind == "application/octet-stream"


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if suffix.isascii() and suffix[1:].isalnum() and len(suffix) < 8 else ""


async def _scanned(pool: ScanPool, uploads: list[_Upload], seconds: float) -> list[Finding]:
    futures = []
    try:
        for upload in uploads:
            futures.append(asyncio.wrap_future(pool.submit(str(upload.path))))
        return list(await asyncio.wait_for(asyncio.gather(*futures), seconds))
    except Busy:
        headers = {"Retry-After": _RETRY_AFTER}
        raise HTTPException(429, "too many queued files", headers=headers) from None
    except TimeoutError:
        raise HTTPException(504, "the scan did not finish in time") from None
    finally:
        for future in futures:
            future.cancel()


def _line(pool: ScanPool, upload: _Upload, finding: Finding, with_page: bool) -> str:
    file = finding.file and replace(finding.file, modified="")  # the time of the upload is meaningless
    named = replace(finding, path=printable(upload.name), file=file)
    row = {**named.record(), "scan": pool.scanner.run.record()}
    if not with_page:
        return json.dumps(row) + "\n"
    layers: dict[str, str] = {}
    with suppress(ImageError, cv2.error):
        layers = pictures(finding) if finding.status == "ok" else {}
    page = render("row.html", finding=named, number=0, layers=layers)
    return json.dumps({"row": row, "html": page}) + "\n"

"""Requests of the service: check host, origin, token and size before they are processed, and receive their pictures."""

from __future__ import annotations

import asyncio
import email.message
import hmac
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hidascan.printable import print_to_stderr, printable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ADVICE = (
    "send pictures as a form (curl -F file=@photo.jpg ADDRESS/v1/scan) or one as the body with Content-Type: image/jpeg"
)
_DEFAULT_NAME = "upload"
_MAX_DISPOSITION = 4096  # characters of a Content-Disposition that are parsed


@dataclass(frozen=True)
class Limits:
    """Limits on requests."""

    hosts: tuple[str, ...] = LOOPBACK  # accepted host names, against DNS rebinding
    token: str = ""  # required bearer token; "" for none
    body: int = 100 << 20  # maximum size of a request body, bytes
    files: int = 20  # maximum number of files per request
    waiting: int = 200  # maximum number of queued files, over all requests
    seconds: float = 300.0  # time limit of a request, seconds


class TooLarge(Exception):
    """A request body exceeds the limit."""


class Guard:
    """ASGI middleware that rejects invalid requests, with the response that `answer` makes of status and reason."""

    def __init__(self, app: Any, limits: Limits, answer: Callable[[Request, int, str], Response]):
        self._app, self._limits, self._answer = app, limits, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it with a reason."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def reject(status: int, reason: str) -> None:
            await self._answer(Request(scope), status, reason)(scope, receive, send)

        rejection = self._rejection(scope, headers)
        if rejection:
            await reject(*rejection)
            return
        started = False

        async def counted_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, self._counted(receive), counted_send)
        except TooLarge:
            await reject(413, self._too_large())
        except Exception as error:  # as one line; the framework would print a traceback
            print_to_stderr(f"unexpected {type(error).__name__}: {error}")
            if not started:
                await reject(500, "internal error: see the terminal of hidascan serve")

    def _rejection(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _split(f"//{headers.get('host', '')}").hostname or ""
        if host not in {name.lower() for name in self._limits.hosts}:
            return 421, "unknown host name: start hidascan serve with --allow-host NAME to use it"
        origin = headers.get("origin")
        if origin is not None and _split(origin).netloc != headers.get("host"):
            page, asked = (printable(one[:100]) for one in (origin, headers.get("host", "")))
            return 403, (
                f"cross-origin requests are not allowed: the page is from {page}, the request is for {asked}; behind a"
                " proxy, let the proxy pass Host, and start hidascan serve with --allow-host NAME"
            )
        if self._limits.token and scope["path"].startswith("/v1/") and scope["path"] != "/v1/health":
            given = headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {self._limits.token}".encode()):
                return 401, "bearer token required"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "invalid Content-Length"
        if int(length) > self._limits.body:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"the request is larger than {self._limits.body / (1 << 20):g} MB, the maximum"

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.body:
                raise TooLarge
            return message

        return counted


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # an incomplete IPv6 address
        return urlsplit("")


@dataclass(frozen=True)
class Upload:
    """An uploaded file: the name that the client gave, and its path on this machine."""

    name: str
    path: Path


def delete(uploads: Iterable[Upload]) -> None:
    """Delete the files of uploads."""
    for upload in uploads:
        upload.path.unlink(missing_ok=True)


async def receive(request: Request, folder: Path, limits: Limits, uploads: list[Upload]) -> None:
    """Write the pictures of a request into a folder, under generated names; list each upload before writing it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        await _receive_form(request, folder, limits, uploads)
    elif _is_picture(kind):
        await _receive_body(request, folder, uploads)
    else:
        raise HTTPException(
            400, f"{printable(kind[:100]) or 'no Content-Type'} is neither a form nor a picture; {ADVICE}"
        )


async def _receive_form(request: Request, folder: Path, limits: Limits, uploads: list[Upload]) -> None:
    try:
        parser = _FormParser(request.headers, request.stream(), max_files=limits.files, max_fields=10)
        form = await parser.parse()
        if parser.open:
            await form.close()
            raise MultiPartException("the form is cut off: its closing boundary is missing")
    except MultiPartException as error:
        raise HTTPException(400, f"{error.message.rstrip('.').lower()}; {ADVICE}") from None
    try:
        for field, part in form.multi_items():
            if not isinstance(part, UploadFile):
                raise HTTPException(
                    400, f"{printable(field[:100])} is not a file: the form accepts no options; {ADVICE}"
                )
            if not part.filename and not part.size:
                continue  # a form field without a chosen file
            with _noted(part.filename, folder, uploads).open("wb") as file:
                await asyncio.to_thread(shutil.copyfileobj, part.file, file)
    finally:
        await form.close()
    if not uploads:
        raise HTTPException(400, f"no file in the form: each picture needs a part with filename=; {ADVICE}")


async def _receive_body(request: Request, folder: Path, uploads: list[Upload]) -> None:
    with _noted(_extended_name(request.headers.get("content-disposition", "")), folder, uploads).open("wb") as file:
        async for block in request.stream():
            await asyncio.to_thread(file.write, block)
    if not uploads[-1].path.stat().st_size:
        raise HTTPException(400, f"the request body is empty; {ADVICE}")


def _noted(name: str | None, folder: Path, uploads: list[Upload]) -> Path:
    """Add an upload to the list, and return the path to write it to."""
    name = Path(name or "").name
    name = _DEFAULT_NAME if name in ("", "..") else name
    uploads.append(Upload(name, folder / (secrets.token_hex(16) + _suffix(name))))
    return uploads[-1].path


def _extended_name(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition, also in RFC 5987 form: filename*=UTF-8''%E2%82%AC.png."""
    header = email.message.Message()
    header["Content-Disposition"] = disposition[:_MAX_DISPOSITION]  # parsing takes quadratic time
    try:
        name = header.get_filename()
    except (ValueError, TypeError):
        return None
    try:
        return name and name.encode("latin-1").decode()  # headers are decoded as Latin-1
    except UnicodeError:
        return name


class _FormParser(MultiPartParser):
    """Multipart parser that also accepts files marked only by `filename*` or their content type.

    Attributes:
        open: True after a part until the closing boundary; a file that is cut off would be lost without an error.
    """

    open = False

    def on_part_begin(self) -> None:
        """Begin a part."""
        self.open = True
        super().on_part_begin()

    def on_end(self) -> None:
        """Receive the closing boundary."""
        self.open = False
        super().on_end()

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

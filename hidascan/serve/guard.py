"""Check requests before they are processed: host, origin, token, size."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from hidascan.printable import complain

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """Limits on requests.

    Attributes:
        hosts: Accepted host names, against DNS rebinding.
        token: Required bearer token; "" for none.
        body: Maximum size of a request body, bytes.
        files: Maximum number of files per request.
        waiting: Maximum number of queued files, over all requests.
        seconds: Time limit of a request, seconds.
    """

    hosts: tuple[str, ...] = LOOPBACK
    token: str = ""
    body: int = 100 << 20
    files: int = 20
    waiting: int = 200
    seconds: float = 300.0


class TooLarge(Exception):
    """A request body exceeds the limit."""


class Guard:
    """ASGI middleware that rejects invalid requests."""

    def __init__(self, app: Any, limits: Limits):
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it with a reason."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        rejection = self._rejection(scope, headers)
        if rejection:
            await _answer(send, *rejection)
            return
        started = False

        async def counted_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, self._counted(receive), counted_send)
        except TooLarge:
            await _answer(send, 413, self._too_large())
        except Exception as error:  # as one line; the framework would print a traceback
            complain(f"unexpected {type(error).__name__}: {error}")
            if not started:
                await _answer(send, 500, "internal error: see the terminal of hidascan serve")

    def _rejection(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _split(f"//{headers.get('host', '')}").hostname or ""
        if host not in self._limits.hosts:
            return 421, "unknown host name: start hidascan serve with --allow-host NAME to use it"
        origin = headers.get("origin")
        if origin is not None and _split(origin).netloc != headers.get("host"):
            return 403, "cross-origin requests are not allowed"
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


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

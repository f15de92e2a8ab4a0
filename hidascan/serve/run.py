"""Start the service, open its page in the browser, and drain it on Ctrl-C."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from hidascan.errors import UsageError, reason_of
from hidascan.options import ScanOptions
from hidascan.printable import print_to_stderr
from hidascan.scanner import Scanner
from hidascan.serve.app import make_app
from hidascan.serve.requests import LOOPBACK, Limits
from hidascan.serve.scan_queue import ScanQueue

_CONNECTIONS = 64  # at least: the page needs four


def serve(
    options: ScanOptions,
    limits: Limits,
    *,
    host: str,
    port: int,
    keep: Path | None = None,
    browser: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish open requests.

    Port 0 selects a free port. Uploads are kept in the folder `keep`, if any. With `browser`, the page is opened in a
    browser if there is a terminal and a display.

    Raises:
        UsageError: If the host is not loopback and there is no token, a folder cannot be written to, or the address
            cannot be bound.
    """
    if host not in LOOPBACK and not limits.token:
        raise UsageError(f"--host {host} is reachable from the network: set --token, or HIDASCAN_TOKEN")
    _check_folders(keep)
    bound = _bound(host, port)
    queue = ScanQueue(Scanner(options), limits.waiting)
    _announce(f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}/", browser and host in LOOPBACK)
    app = make_app(queue, limits, keep, local=host in LOOPBACK and not os.environ.get("SSH_CONNECTION"))
    _stop_on_hangup()
    server = _Server(_uvicorn_config(app, limits), queue)
    errors = _OneLine(logging.ERROR)  # of all libraries; warnings are client errors
    errors.addFilter(lambda record: not server.force_exit)  # then open requests are cancelled
    logging.getLogger().addHandler(errors)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after draining
        server.run(sockets=[bound])


def _uvicorn_config(app: FastAPI, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        h11_max_incomplete_event_size=64 << 10,  # limit on headers
        limit_concurrency=max(_CONNECTIONS, 4 * limits.waiting),
        timeout_graceful_shutdown=math.ceil(limits.seconds),  # of clients that stop reading
    )


def _stop_on_hangup() -> None:
    """Stop when the terminal is closed, as for SIGTERM; not under nohup."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def _check_folders(keep: Path | None) -> None:
    """Make the folder of kept uploads; UsageError if it, or the folder of temporary files, cannot be written to."""
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=keep).close()
        except OSError as error:
            raise UsageError(f"--keep {keep}: {reason_of(error)}") from None
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise UsageError(f"no temporary folder: {reason_of(error)}") from None


def _announce(address: str, browser: bool) -> None:
    """Open the page, if wanted and if there is a display, and say where it is."""
    if browser and has_display():
        print_to_stderr(f"opening {address} in the browser; press Ctrl-C to stop")
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    else:
        print_to_stderr(f"open {address} in a browser; press Ctrl-C to stop")


def has_display() -> bool:
    """Return whether a user sits at this computer: stdout and stderr are a terminal, and there is a display."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()) or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


class _Server(uvicorn.Server):
    """Server that states what it waits for before it stops."""

    def __init__(self, config: uvicorn.Config, queue: ScanQueue):
        super().__init__(config)
        self._queue = queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish open requests."""
        if waiting := self._queue.waiting():
            print_to_stderr(f"finishing {waiting} file{'s' * (waiting > 1)}; press Ctrl-C again to stop at once")
        await super().shutdown(sockets)


class _OneLine(logging.Handler):
    """Handler that writes each error as one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        cause = record.exc_info[1] if record.exc_info else None
        print_to_stderr(" ".join([record.getMessage(), *([f"({type(cause).__name__}: {cause})"] if cause else [])]))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere, others could take the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(1024)  # clients queue until the network is loaded
    except OSError as error:
        raise UsageError(f"{host}:{port}: {reason_of(error)}") from None
    return bound

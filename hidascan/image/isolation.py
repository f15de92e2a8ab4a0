"""Decode in separate processes: a file that crashes or hangs its decoder costs only its own row.

Each process writes an empty JSON object once it has started. It gets one JSON line per file on stdin, and writes JSON
lines to stdout, and pixels after the line with their shape. Pickle is not used, as files may be hostile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hidascan.errors import NO_MEMORY, ImageError, reason_of
from hidascan.image.decode import DecodedImage, decode
from hidascan.image.formats import LARGEST_FILE
from hidascan.notes import DAMAGED_IMAGE
from hidascan.records import from_json, to_json

try:
    import fcntl
    import resource
except ImportError:  # Windows: without limits, but still separate processes
    fcntl = resource = None  # type: ignore[assignment]

_CODE = "from hidascan.image.isolation import decode_requests; decode_requests()"
# -P: without the working folder in sys.path, as it may hold a malicious PIL.py.
COMMAND = [sys.executable, "-P", "-c", _CODE]

_PIPE_BYTES = 1 << 20
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # per decoder, as there may be one per core
_SECONDS, _PIXELS_PER_SECOND = 10, 5e6  # time limit for decoding: 10 s, plus 1 s per 5 million pixels
_READING_SECONDS = 120  # time limit for reading: this, plus the size at the speed below; a disk may have to spin up
_BYTES, _BYTES_PER_PIXEL = 1 << 30, 24  # memory limit, beside the process and the file
_BYTES_PER_SECOND = 5_000_000  # speed of the slowest disk


@functools.cache
def decoders() -> Decoders:
    """Return the decoders of this process, shared by all its scanners."""
    return Decoders()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=decoders.cache_clear)  # two processes cannot share a pipe


class Decoders:
    """A pool of decoding processes, one per concurrent call; they end with this process.

    Attributes:
        idle: Processes without a file to decode.
    """

    def __init__(self) -> None:
        self.idle: list[Worker] = [Worker()]  # starts while the network loads
        self._lock = threading.Lock()

    def decode(
        self,
        path: str | os.PathLike[str],
        max_pixels: int,
        before_load: Callable[[int], None] = lambda pixels: None,
        trust: str | None = None,
    ) -> DecodedImage:
        """Decode like `hidascan.image.decode.decode`.

        Raises:
            ImageError: Also if the decoder crashes or takes too long.
        """
        with self._lock:
            worker = self.idle.pop() if self.idle else None
        if worker is None or not worker.is_alive():
            try:
                worker = Worker()
            except OSError as error:
                raise ImageError(f"no decoder could be started: {reason_of(error)}") from None
        try:
            return worker.decode(_from_the_root(os.fspath(path)), max_pixels, before_load, trust)
        finally:
            with self._lock:
                self.idle.append(worker)


def _from_the_root(path: str) -> str:
    """Make a path absolute, as this process may have changed its working folder since the decoder started."""
    try:
        return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except OSError as error:  # the working folder is gone
        raise ImageError(reason_of(error)) from None


def _widen(pipe: Any) -> None:
    """Enlarge the buffer of a pipe from 64 KB, so that pixels are sent with fewer waits; if supported."""
    if fcntl and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class Worker:
    """Client of one decoding process, `process`."""

    def __init__(self) -> None:
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C must not kill decoders: the scan still needs their results
        )
        self._requests: Any = self.process.stdin
        self._replies: Any = self.process.stdout
        self._is_started = False
        _widen(self._replies)

    def is_alive(self) -> bool:
        """Return whether the process is running."""
        return self.process.poll() is None

    def decode(self, path: str, max_pixels: int, before_load: Callable[[int], None], trust: str | None) -> DecodedImage:
        """Decode like `Decoders.decode`, by the process."""
        try:
            if not self._is_started:
                self._receive()
                self._is_started = True
            _send(self._requests, {"path": path, "max_pixels": max_pixels, "trust": trust})
            reply = self._receive()
            if "pixels" in reply:
                before_load(reply["pixels"])
                _send(self._requests, {})
                reply = self._receive()
            if "error" in reply:
                raise ImageError(reply["error"])
            return self._image(reply)
        except ImageError:
            raise
        except (OSError, EOFError):
            raise ImageError(self._exit_reason()) from None
        except BaseException:
            self.end()  # the protocol was interrupted
            raise

    def _image(self, reply: dict[str, Any]) -> DecodedImage:
        pixels = np.empty(reply["shape"], np.uint8)
        if self._replies.readinto(pixels.data.cast("B")) < pixels.nbytes:
            raise EOFError
        pixels.flags.writeable = False
        image: DecodedImage = from_json(DecodedImage, {"pixels": pixels, **reply["image"]})
        return image

    def _receive(self) -> dict[str, Any]:
        line = self._replies.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def _exit_reason(self) -> str:
        code = self.process.wait()
        if hasattr(signal, "SIGALRM") and code == -signal.SIGALRM:
            return "took too long to read or decode"
        if code in (-9, 137):
            return "the decoder was killed, perhaps because it ran out of memory"
        if code > 0 and not self._is_started:
            return f"the decoder could not be started: exit code {code}"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{DAMAGED_IMAGE}its decoder crashed ({name})"

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self._requests.close()
        self._replies.close()


def decode_requests() -> None:
    """Decode the files named on stdin, in a process of its own, until stdin ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # output of libraries must not mix with the replies
    _send(replies, {})  # started
    size = _address_space()
    while line := requests.readline():
        answer(json.loads(line), requests, replies, size)


def answer(request: dict[str, Any], requests: BinaryIO, replies: BinaryIO, size: int) -> None:
    """Decode one file; memory for pixels is allocated only after the client admits them.

    Args:
        request: "path", "max_pixels" and "trust", as of `decode`.
        requests: Pipe from the client, which admits the pixels by a line.
        replies: Pipe to the client.
        size: Address space of this process before it decodes, bytes.
    """
    stored = _size_of(request["path"])
    allowed, transfer = size + _BYTES + stored, stored // _BYTES_PER_SECOND

    def start_clock() -> None:
        _allow_seconds(_SECONDS + transfer)

    def announce(pixels: int) -> None:
        _allow_seconds(0)
        _send(replies, {"pixels": pixels})
        requests.readline()
        _allow_memory(allowed + _BYTES_PER_PIXEL * pixels)
        _allow_seconds(_SECONDS + int(pixels / _PIXELS_PER_SECOND))

    _allow_memory(allowed)
    _allow_seconds(_READING_SECONDS + transfer)
    try:
        image = decode(
            request["path"], request["max_pixels"], announce, request["trust"], traced=True, after_reading=start_clock
        )
        names = [field.name for field in dataclasses.fields(image) if field.name != "pixels"]
        properties = {name: to_json(getattr(image, name)) for name in names}
        _allow_seconds(0)
        _send(replies, {"shape": image.pixels.shape, "image": properties})
        replies.write(image.pixels.tobytes() if not image.pixels.flags.c_contiguous else image.pixels.data)
        replies.flush()
    except (ImageError, MemoryError) as error:
        _allow_seconds(0)
        _send(replies, {"error": str(error) or NO_MEMORY})


def _size_of(path: str) -> int:
    """Return the size of a file in bytes, as far as memory for it is granted; 0 if it cannot be read."""
    try:
        return min(os.path.getsize(path), LARGEST_FILE)
    except (OSError, ValueError):
        return 0


def _send(pipe: BinaryIO, message: dict[str, Any]) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def _allow_seconds(seconds: int) -> None:
    """Let the system kill this process after a number of seconds; 0 for no limit."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _allow_memory(size: int) -> None:
    """Limit the address space to a number of bytes."""
    if resource:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def _address_space() -> int:
    """Return the address space of this process, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 1 << 30

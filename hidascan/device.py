"""The device of a network: its choice, precision and batch size, and the batches of views that run on it."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.base import Encoded, EncodeViews, Positions
from hidascan.errors import DeviceError

Owner = Any  # of a view; the image that it belongs to


def choose_device(name: str) -> torch.device:
    """Return the device for auto, cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: If it is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")  # a kind that is refused below
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device {name}: unknown device; choose auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"--device {name}: no such CUDA device ({torch.cuda.device_count()} found)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available on this machine")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for auto, bf16 or fp32; auto is bf16 if the hardware supports it, else fp32.

    Raises:
        DeviceError: For any other name.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and cpu_has_bf16()
        return torch.bfloat16 if fast else torch.float32
    try:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    except KeyError:
        raise DeviceError(f"--precision {precision}: choose auto, bf16 or fp32") from None


def default_batch_size(device: torch.device) -> int:
    """Return the views per batch: the fastest on 2 CPU cores; enough to fill a GPU."""
    return 128 if device.type == "cuda" else 16


def cpu_has_bf16() -> bool:
    """Return whether the CPU has AVX512-BF16, AMX or Arm BF16; without them, bf16 is slower than fp32."""
    flags = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return flags != "DEFAULT" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)


class Batch:
    """A batch of equally sized views, with their positions and owners."""

    def __init__(self, size: int, pinned: bool):
        """Make an empty batch of at most `size` views of 224x224 pixels, in pinned memory or not."""
        self.size, self._pinned = size, pinned
        self.pixels = np.empty((0, 0, 0, 3), np.uint8)  # (B, H, W, 3)
        self.corners = np.empty((size, 2), np.int64)
        self.is_thumbnail = np.empty(size, bool)
        self.owners: list[tuple[Owner, int]] = []

    def fits(self, view: np.ndarray) -> bool:
        """Return whether a view can join the batch."""
        return not self.owners or (len(self.owners) < self.capacity and view.shape == self.pixels.shape[1:])

    @property
    def capacity(self) -> int:
        """Maximum number of views; a large image that is encoded at its own size is a batch alone."""
        return len(self.pixels)

    def add(self, view: np.ndarray, corner: tuple[int, int], thumbnail: bool, owner: tuple[Owner, int]) -> None:
        """Copy a view into the batch."""
        if self.pixels.shape[1:] != view.shape:
            capacity = max(1, min(self.size, self.size * 224 * 224 * 3 // view.size)) if view.size else 1
            self.pixels = torch.empty((capacity, *view.shape), dtype=torch.uint8, pin_memory=self._pinned).numpy()
        place = len(self.owners)
        self.pixels[place], self.corners[place], self.is_thumbnail[place] = view, corner, thumbnail
        self.owners.append(owner)

    def on(self, device: torch.device) -> tuple[Tensor, Positions]:
        """Copy the views (B, 3, H, W) uint8 and their positions to a device."""
        count = len(self.owners)
        parts = (self.pixels, self.is_thumbnail, self.corners)
        views, *where = (torch.from_numpy(part[:count]).to(device, non_blocking=self._pinned) for part in parts)
        return views.permute(0, 3, 1, 2), Positions(*where)

    def runs(self) -> Iterator[tuple[Owner, int, list[int]]]:
        """Yield (owner, index of the first row, numbers of its views) for each run of rows of one owner."""
        place = 0
        for _, some in groupby(self.owners, key=lambda owner: id(owner[0])):
            run = list(some)
            yield run[0][0], place, [number for _, number in run]
            place += len(run)


class Encoding(NamedTuple):
    """Encoded rows of a batch, on the device, and device time in seconds."""

    rows: Encoded
    seconds: float


class BatchRunner:
    """Encodes batches on one device: at once, or on a GPU (`overlaps`) in a thread, while the next batch is filled.

    The thread has its own stream, so that decisions do not wait behind the batch.
    """

    def __init__(self, encode: EncodeViews, device: torch.device):
        """Set up an encoder of batches on its device."""
        self.encode, self._device, self.overlaps = encode, device, device.type == "cuda"

    def new_batch(self, size: int) -> Batch:
        """Make a batch for this device."""
        return Batch(size, pinned=self._device.type == "cuda")

    def submit(self, batch: Batch) -> Future[Encoding]:
        """Begin to encode a batch, which must not change until its result is available."""
        if self.overlaps:
            return self._thread.submit(self._run, batch)
        done: Future[Encoding] = Future()
        done.set_result(self._run(batch))
        return done

    def result(self, submitted: Future[Encoding]) -> Encoding:
        """Wait for the result of a batch."""
        encoding = submitted.result()
        if self._device.type == "cuda":
            for rows in encoding.rows.values():  # of the other stream: not overwritten while this one reads
                rows.record_stream(torch.cuda.current_stream(self._device))
        return encoding

    def _run(self, batch: Batch) -> Encoding:
        started = time.perf_counter()
        with torch.inference_mode():
            if self._device.type != "cuda":
                rows = self.encode(*batch.on(self._device))
            else:
                with torch.cuda.stream(self._stream):
                    rows = self.encode(*batch.on(self._device))
                self._stream.synchronize()
        return Encoding(rows, time.perf_counter() - started)

    @functools.cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="batches")

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)

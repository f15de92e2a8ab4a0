"""Fill batches with views of many images, run them on one device, and hand out what a detector says of each image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from hidascan.detectors.base import Detector, Encoded, EncodeViews, Positions
from hidascan.errors import DeviceError
from hidascan.image.views import Views

Ticket = TypeVar("Ticket")


@dataclass(frozen=True)
class ImageOutput:
    """What a detector says of one image.

    Attributes:
        logit: Raw, above 0 where it leans to AI.
        quality: Estimated JPEG quality 1..100, where the detector has it.
        uncertainty: Standard deviation of the score, where the detector has it.
        domain: What the image shows, where the detector tells.
        family: Of the generator, if there was one, where the detector tells.
        heatmap: (h, w) float32 p(AI) of each cell, where the detector has it and all patches were looked at.
        attributions: With `explain`, how much each view but the thumbnail decides.
        seconds: Of device time.
    """

    logit: float
    quality: float | None
    uncertainty: float | None
    domain: str | None
    family: str | None
    heatmap: np.ndarray | None
    attributions: list[float]
    seconds: float


@dataclass
class _InFlight(Generic[Ticket]):
    """An image some of whose views are still on their way."""

    ticket: Ticket
    views: Views | None  # without its pixels
    missing: int
    encoded: Encoded = field(default_factory=dict)  # rows of all its views, on the CPU
    repeats: dict[int, int] = field(default_factory=dict)  # views that are not run -> those that say the same
    seconds: float = 0.0


class _Batch:
    """Views of one shape that wait for the device, where they lie, and whose they are."""

    def __init__(self, size: int):
        self.size = size
        self.pixels = np.empty((0, 0, 0, 3), np.uint8)  # (B, H, W, 3)
        self.corners = np.empty((size, 2), np.int64)
        self.is_thumbnail = np.empty(size, bool)
        self.owners: list[tuple[_InFlight[Any], int]] = []

    def fits(self, view: np.ndarray) -> bool:
        """Tell whether a view can join those that wait."""
        return not self.owners or (len(self.owners) < self.room and view.shape == self.pixels.shape[1:])

    @property
    def room(self) -> int:
        """Largest number of views; an image that is looked at in its own size goes alone if it is large."""
        return len(self.pixels)

    def add(
        self, view: np.ndarray, corner: tuple[int, int], thumbnail: bool, owner: tuple[_InFlight[Any], int]
    ) -> None:
        """Copy a view into the batch."""
        if self.pixels.shape[1:] != view.shape:
            room = max(1, min(self.size, self.size * 224 * 224 * 3 // view.size)) if view.size else 1
            self.pixels = np.empty((room, *view.shape), np.uint8)
        place = len(self.owners)
        self.pixels[place], self.corners[place], self.is_thumbnail[place] = view, corner, thumbnail
        self.owners.append(owner)


class Engine:
    """Runs a detector on full batches. Memory is bounded by one batch and what was encoded of the images in flight."""

    def __init__(
        self, detector: Detector, encode: EncodeViews, device: torch.device, batch_size: int, explain: bool = False
    ):
        """Set up.

        Args:
            detector: On its device.
            encode: What encodes batches of views: `detector.runtime(...)`.
            device: Where both run.
            batch_size: Views a batch.
            explain: Whether attributions are wanted.
        """
        self.detector, self.encode, self.device = detector, encode, device
        self.batch_size, self.explain = batch_size, explain

    def run(
        self,
        images: Iterable[tuple[Ticket, Views | None] | None],
        on_batch: Callable[[int], None] = lambda views: None,
    ) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Take (ticket, views) and yield (ticket, output) in the same order.

        Args:
            images: Views of None pass through as an output of None. A None in place of both says that no image is
                ready: then a batch is run as full as it is.
            on_batch: Told the number of views of every batch that the device has finished.
        """
        waiting: deque[_InFlight[Ticket]] = deque()
        batch = _Batch(self.batch_size)
        for entry in images:
            if entry is None:
                if batch.owners:
                    on_batch(self._flush(batch))
                    yield from self._finished(waiting)
                continue
            ticket, views = entry
            entry = None
            image = _entered(ticket, views)
            waiting.append(image)
            for _ in self._filled(batch, image, views) if views else ():
                on_batch(self._flush(batch))
                yield from self._finished(waiting)  # they need not wait for the rest of a large image
            views = None  # let go of the pixels before the next image is asked for
            yield from self._finished(waiting)
        if batch.owners:
            on_batch(self._flush(batch))
        yield from self._finished(waiting)

    def _filled(self, batch: _Batch, image: _InFlight[Ticket], views: Views) -> Iterator[None]:
        """Put the views of an image into the batch; yield whenever it has to be run first."""
        for number in range(len(views)):
            if number in image.repeats:
                continue
            if not batch.fits(views.pixels[number]):
                yield
            box, thumbnail = views.boxes[number], views.thumbnail and number == 0
            batch.add(views.pixels[number], (box.top, box.left), thumbnail, (image, number))
            if len(batch.owners) == batch.room:
                yield

    def _finished(self, waiting: deque[_InFlight[Ticket]]) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Yield those in front that have all that they wait for."""
        while waiting and not waiting[0].missing:
            yield self._leave(waiting.popleft())

    def _flush(self, batch: _Batch) -> int:
        """Run one batch and hand its rows to the images that they belong to."""
        started, count = time.perf_counter(), len(batch.owners)
        views = torch.from_numpy(batch.pixels[:count]).to(self.device).permute(0, 3, 1, 2)
        where = Positions(
            *(torch.from_numpy(part[:count]).to(self.device) for part in (batch.is_thumbnail, batch.corners))
        )
        with torch.inference_mode():
            encoded = {name: rows.cpu() for name, rows in self.encode(views, where).items()}
        each = (time.perf_counter() - started) / count
        for row, (image, number) in enumerate(batch.owners):
            for name, rows in encoded.items():
                if name not in image.encoded:
                    image.encoded[name] = rows.new_empty((len(image.views or ()), *rows.shape[1:]))
                image.encoded[name][number] = rows[row]
            image.missing -= 1
            image.seconds += each
        batch.owners.clear()
        return count

    def _leave(self, image: _InFlight[Ticket]) -> tuple[Ticket, ImageOutput | None]:
        if image.views is None:
            return image.ticket, None
        started = time.perf_counter()
        for rows in image.encoded.values():
            rows[list(image.repeats)] = rows[list(image.repeats.values())]
        with torch.inference_mode():
            encoded = {name: rows.to(self.device) for name, rows in image.encoded.items()}
            decision = self.detector.decide(encoded)
            grid = image.views.grid
            heatmap = self.detector.locate(encoded, grid) if grid and self.detector.has_heatmap else None
            attributions = self.detector.attribute(encoded).tolist() if self.explain else []
        return image.ticket, ImageOutput(
            float(decision.logit),
            _float(decision.quality),
            _float(decision.uncertainty),
            decision.domain,
            decision.family,
            None if heatmap is None else heatmap.cpu().numpy(),
            attributions,
            image.seconds + time.perf_counter() - started,
        )


def _float(value: Tensor | None) -> float | None:
    return None if value is None else float(value)


def _entered(ticket: Ticket, views: Views | None) -> _InFlight[Ticket]:
    if views is None:
        return _InFlight(ticket, None, 0)
    repeats = _repeats(views)
    without_pixels = Views([], views.boxes, views.thumbnail, views.patches, views.grid)
    return _InFlight(ticket, without_pixels, len(views) - len(repeats), repeats=repeats)


def _repeats(views: Views) -> dict[int, int]:
    """Map patches that are all of one colour to the first of that colour.

    The margins of a screenshot need the network once. The thumbnail is not among them.
    """
    first: dict[bytes, int] = {}
    repeats = {}
    for number in range(int(views.thumbnail), len(views)):
        view = views.pixels[number]
        colour = view[0, 0]
        if (view[-1, -1] == colour).all() and (view == colour).all():
            before = first.setdefault(colour.tobytes(), number)
            if before != number:
                repeats[number] = before
    return repeats


def choose_device(name: str) -> torch.device:
    """Find the device that auto, cpu, cuda, cuda:N or mps names.

    Raises:
        DeviceError: If it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--device {name}: not a device; choose auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"--device {name}: no such CUDA device here ({torch.cuda.device_count()} found)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available here")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device {name}: choose auto, cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Choose what auto, bf16 or fp32 names; auto is bf16 where the hardware computes in it, fp32 elsewhere.

    Raises:
        DeviceError: For any other word.
    """
    if precision == "auto":
        fast = {"cuda": _cuda_has_bf16, "cpu": _cpu_has_bf16}.get(device.type, lambda: False)()
        return torch.bfloat16 if fast else torch.float32
    try:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    except KeyError:
        raise DeviceError(f"--precision {precision}: choose auto, bf16 or fp32") from None


def default_batch_size(device: torch.device) -> int:
    """Return the views a batch: measured best on 2 CPU cores; large enough to fill a GPU."""
    return 128 if device.type == "cuda" else 16


def _cuda_has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_has_bf16() -> bool:
    """Tell whether the CPU has AVX512-BF16, AMX or Arm's BF16; without them bf16 is slower than fp32."""
    flags = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return flags != "DEFAULT" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)

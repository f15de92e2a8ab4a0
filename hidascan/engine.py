"""Views of many images -> full batches on one device -> outputs per image, in the order of the images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from hidascan.errors import DeviceError
from hidascan.model.hidanet import HiDANet, ViewOutputs

Ticket = TypeVar("Ticket")
ViewsPass = Callable[[Tensor, Tensor, Tensor], ViewOutputs]  # `HiDANet.views`, or what stands in for it


@dataclass(frozen=True)
class Views:
    """What the network sees of one image: the thumbnail first, then its K patches.

    pixels: each (patch, patch, 3) uint8. corners: where each starts in the image, (top, left) in pixels; the
    thumbnail at (0, 0).
    """

    pixels: list[np.ndarray]
    corners: list[tuple[int, int]]

    def only(self, numbers: list[int]) -> Views:
        """Those with these numbers."""
        return Views([self.pixels[n] for n in numbers], [self.corners[n] for n in numbers])

    def after(self, thumbnail: np.ndarray) -> Views:
        """The thumbnail, and then these."""
        return Views([thumbnail, *self.pixels], [(0, 0), *self.corners])


@dataclass(frozen=True)
class ImageOutput:
    """logit; quality 1..100; traces (K, 14, 14, E) float32 of the cells of its patches; seconds of device time; where
    they were asked for, the effect of each patch on the logit."""

    logit: float
    quality: float
    traces: np.ndarray
    seconds: float
    effects: list[float]


@dataclass
class _InFlight:
    """An image some of whose views are still on their way."""

    ticket: object
    outputs: ViewOutputs | None  # of its 1 + K views, on the CPU
    missing: int
    repeats: dict[int, int] = field(default_factory=dict)  # views that are not run -> those that say the same
    seconds: float = 0.0


@dataclass
class _Batch:
    """uint8 views waiting for the device, where they lie, and whose they are."""

    views: np.ndarray  # (B, 224, 224, 3)
    corners: np.ndarray  # (B, 2), where each starts in its image
    owners: list[tuple[_InFlight, int]] = field(default_factory=list)


class Engine:
    """Runs a network on full batches. views: what takes them through its layers. Memory is bounded by one batch and the
    traces of the images in flight."""

    def __init__(
        self, network: HiDANet, device: torch.device, batch_size: int, views: ViewsPass, explain: bool = False
    ):
        self.network = network.to(device)
        self.device, self.batch_size, self.views, self.explain = device, batch_size, views, explain

    def run(
        self,
        images: Iterable[tuple[Ticket, Views | None]],
        on_batch: Callable[[int], None] = lambda views: None,
    ) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Take (ticket, views) and yield (ticket, output) in the same order.

        Views of None pass through as an output of None.
        on_batch is called with the number of views of every batch that the device has finished.
        """
        waiting: deque[_InFlight] = deque()
        side = self.network.config.patch
        batch = _Batch(np.empty((self.batch_size, side, side, 3), np.uint8), np.empty((self.batch_size, 2), np.int64))
        for ticket, views in images:
            image = self._enter(ticket, views)
            waiting.append(image)
            for number in range(len(views.pixels) if views else 0):
                if number in image.repeats:
                    continue
                batch.views[len(batch.owners)] = views.pixels[number]
                batch.corners[len(batch.owners)] = views.corners[number]
                batch.owners.append((image, number))
                if len(batch.owners) == self.batch_size:
                    on_batch(self._flush(batch))
                    yield from self._finished(waiting)  # they need not wait for the rest of a large image
            views = None  # let go of the pixels before the next image is asked for
            yield from self._finished(waiting)
        if batch.owners:
            on_batch(self._flush(batch))
        yield from self._finished(waiting)

    def _finished(self, waiting: deque[_InFlight]) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Those in front that have all their outputs."""
        while waiting and not waiting[0].missing:
            yield self._leave(waiting.popleft())

    def _enter(self, ticket: Ticket, views: Views | None) -> _InFlight:
        if views is None:
            return _InFlight(ticket, None, 0)
        count, cells, config = len(views.pixels), self.network.cells, self.network.config
        empty = ViewOutputs(
            torch.empty(count, config.dim), torch.empty(count), torch.empty(count, cells, cells, config.traces)
        )
        repeats = _repeats(views.pixels)
        return _InFlight(ticket, empty, count - len(repeats), repeats)

    def _flush(self, batch: _Batch) -> int:
        """Run one batch and hand its results to the images they belong to."""
        started, count = time.perf_counter(), len(batch.owners)
        views = torch.from_numpy(batch.views[:count]).to(self.device).permute(0, 3, 1, 2)
        is_global = torch.tensor([number == 0 for _, number in batch.owners], device=self.device)
        corners = torch.from_numpy(batch.corners[:count]).to(self.device)
        with torch.inference_mode():
            outputs = [output.cpu() for output in self.views(views, is_global, corners)]
        each = (time.perf_counter() - started) / count
        for row, (image, number) in enumerate(batch.owners):
            for kept, computed in zip(image.outputs, outputs, strict=True):
                kept[number] = computed[row]
            image.missing -= 1
            image.seconds += each
        batch.owners.clear()
        return count

    def _leave(self, image: _InFlight) -> tuple[Ticket, ImageOutput | None]:
        if image.outputs is None:
            return image.ticket, None
        started = time.perf_counter()
        for output in image.outputs:
            output[list(image.repeats)] = output[list(image.repeats.values())]
        with torch.inference_mode():
            cls, evidence = image.outputs.cls.to(self.device), image.outputs.evidence.to(self.device)
            logit, quality = self.network.fuse(cls, evidence)
            effects = self.network.effects(cls, evidence, logit).tolist() if self.explain else []
        seconds = image.seconds + time.perf_counter() - started
        traces = image.outputs.traces[1:].numpy()
        return image.ticket, ImageOutput(float(logit), float(quality), traces, seconds, effects)

    def locate(self, traces: np.ndarray) -> np.ndarray:
        """Traces (h, w, E) of the cells of one image -> p(AI) of each (h, w), float32."""
        with torch.inference_mode():
            return self.network.locate(torch.from_numpy(traces).to(self.device)).cpu().numpy()


def _repeats(views: list[np.ndarray]) -> dict[int, int]:
    """Numbers of patches that are all of one colour -> number of the first of that colour: the margins of a screenshot
    need the network once. The thumbnail, first of the views, is not among them."""
    first: dict[bytes, int] = {}
    repeats = {}
    for number, view in enumerate(views[1:], start=1):
        colour = view[0, 0]
        if (view[-1, -1] == colour).all() and (view == colour).all():
            before = first.setdefault(colour.tobytes(), number)
            if before != number:
                repeats[number] = before
    return repeats


def choose_device(name: str) -> torch.device:
    """auto, cpu, cuda, cuda:N or mps -> a device that is there. Raises DeviceError otherwise."""
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
    """auto, bf16 or fp32 -> a dtype; auto is bf16 where the hardware computes in it, fp32 elsewhere."""
    if precision == "auto":
        fast = {"cuda": _cuda_has_bf16, "cpu": _cpu_has_bf16}.get(device.type, lambda: False)()
        return torch.bfloat16 if fast else torch.float32
    try:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    except KeyError:
        raise DeviceError(f"--precision {precision}: choose auto, bf16 or fp32") from None


def default_batch_size(device: torch.device) -> int:
    """Views a batch: measured best on 2 CPU cores; large enough to fill a GPU."""
    return 128 if device.type == "cuda" else 16


def _cuda_has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX on x86, BF16 instructions on Arm; without them bf16 is slower than fp32."""
    flags = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return flags != "DEFAULT" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)

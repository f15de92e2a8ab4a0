"""Batch views of many images, run the batches on one device, and yield a detector's output for each image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from hidascan.batches import Batch, BatchRunner, Encoding
from hidascan.detectors.base import Detector, Encoded, EncodeViews, Positions
from hidascan.errors import DeviceError
from hidascan.geometry import spread_order
from hidascan.image.views import Views
from hidascan.settling import MIN_PATCHES, SUSPECTS, Alarmed, Settled, jackknife_error

Ticket = TypeVar("Ticket")

_INITIAL_VIEWS = MIN_PATCHES + 2  # views requested first, with early stopping


@dataclass(frozen=True)
class ImageOutput:
    """Output of a detector for one image.

    Attributes:
        logit: Raw logit, above 0 for AI.
        quality: Estimated JPEG quality 1..100; None if not estimated.
        uncertainty: Standard deviation of the score, 0..0.5; None if not estimated.
        domain: Kind of picture; None if not estimated.
        family: Most similar family of generators; None if not estimated.
        heatmap: (h, w) float32 p(AI) of each cell; None without a heatmap or if patches were skipped.
        attributions: Influence of each view except the thumbnail; empty without `explain`.
        seconds: Device time in seconds.
        examined: Number of patches examined.
    """

    logit: float
    quality: float | None
    uncertainty: float | None
    domain: str | None
    family: str | None
    heatmap: np.ndarray | None
    attributions: list[float]
    seconds: float
    examined: int


@dataclass
class _InFlight(Generic[Ticket]):
    """An image with views in flight.

    Attributes:
        ticket: Owner of the image.
        views: Views, with pixels as long as more of them may be requested.
        order: View numbers, in the order of requests.
        repeats: Duplicate views, which are not run -> views with the same pixels.
        suspects: View numbers requested first, in addition to those in order.
        to_request: Number of views still to request.
        requested: Number of views requested in order.
        pending: Number of requested views not yet encoded.
        encoded: Rows of all views, on the device.
        seconds: Device time in seconds.
        done: Whether the output is known.
        output: Output of the detector; None until known, and without views.
    """

    ticket: Ticket
    views: Views | None
    order: list[int] = field(default_factory=list)
    repeats: dict[int, int] = field(default_factory=dict)
    suspects: list[int] = field(default_factory=list)
    to_request: int = 0
    requested: int = 0
    pending: int = 0
    encoded: Encoded = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = False
    output: ImageOutput | None = None

    def next_views(self) -> list[int]:
        """Return the requested views that have to be run."""
        due, self.to_request = self.order[self.requested : self.requested + self.to_request], 0
        besides = [] if self.requested else self.suspects
        seen = {*self.repeats, *(self.suspects if self.requested else ())}
        self.requested += len(due)
        wanted = [number for number in (*due, *besides) if number not in seen]
        self.pending += len(wanted)
        return wanted

    def due(self) -> list[int]:
        """Return the views that decide: all that were requested in order, sorted as in the plan."""
        return sorted(self.order[: self.requested])

    def seen(self) -> list[int]:
        """Return all requested views, in the order of the plan."""
        return sorted({*self.order[: self.requested], *self.suspects})


class Engine:
    """Runs a detector on full batches.

    Memory is bounded by one batch (two if they overlap), the encoded rows of images in flight, and the pixels of those
    few that may request more views.
    """

    def __init__(
        self,
        detector: Detector,
        encode: EncodeViews,
        device: torch.device,
        batch_size: int,
        explain: bool = False,
        settled: Settled | None = None,
        alarmed: Alarmed | None = None,
        overlaps: bool | None = None,
    ):
        """Set up.

        Args:
            detector: Detector, already on `device`.
            encode: Encoder of batches of views: `detector.runtime(...)`.
            device: Device of the detector.
            batch_size: Views per batch.
            explain: Whether to compute attributions.
            settled: Early-stopping rule; None to examine all patches.
            alarmed: Rule by which a suspicious patch requires a full scan.
            overlaps: As in BatchRunner.
        """
        self.detector, self.device = detector, device
        self.runner = BatchRunner(encode, device, overlaps)
        self.batch_size, self.explain, self.settled, self.alarmed = batch_size, explain, settled, alarmed

    def run(
        self,
        images: Iterable[tuple[Ticket, Views | None] | None],
        on_batch: Callable[[int], None] = lambda views: None,
    ) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Take (ticket, views) and yield (ticket, output) in the same order.

        Args:
            images: (ticket, views) pairs; views of None give an output of None. None instead of a pair means that no
                image is ready, so the partial batch is run.
            on_batch: Callback that gets the number of views of every finished batch.
        """
        flight: _Flight[Ticket] = _Flight(self, on_batch)
        for entry in images:
            if entry is None:
                yield from flight.land()
            else:
                views, ticket = entry[1], entry[0]
                entry = None
                flight.enter(ticket, views)
                views = None  # free the pixels before the next image is requested
                yield from flight.advance()
        yield from flight.land()

    def hand_out(self, batch: Batch[_InFlight[Ticket]], encoding: Encoding) -> None:
        """Store the rows of a batch with their images."""
        each = encoding.seconds / len(batch.owners)
        for image, first, numbers in batch.runs():
            places = slice(numbers[0], numbers[-1] + 1) if _are_consecutive(numbers) else numbers
            for name, rows in encoding.rows.items():
                if name not in image.encoded:
                    image.encoded[name] = rows.new_empty((len(image.views or ()), *rows.shape[1:]))
                image.encoded[name][places] = rows[first : first + len(numbers)]
            image.pending -= len(numbers)
            image.seconds += each * len(numbers)
        batch.owners.clear()

    def suspects(self, image: _InFlight[Ticket]) -> list[int]:
        """Screen all patches by `glance`, and return the most suspicious ones not requested first."""
        views, first = image.views or Views([], []), _INITIAL_VIEWS
        later = {number for number in image.order[first:] if number not in image.repeats}
        if self.alarmed is None or not later:
            return []
        started = time.perf_counter()
        numbers = sorted({*image.order[int(views.thumbnail) : first], *later})
        at_once = range(0, len(numbers), self.batch_size)
        parts = [self._glance(views, numbers[place : place + self.batch_size]) for place in at_once]
        image.seconds += time.perf_counter() - started
        seen = [part for part in parts if part is not None]
        if not seen:
            return []
        rows = torch.cat(seen)
        excess = (rows - rows.median(0).values).clamp_min(0).norm(dim=1)  # above the median of this image
        ranked = [numbers[place] for place in excess.argsort(descending=True).tolist()]
        return [number for number in ranked if number in later][:SUSPECTS]

    def _glance(self, views: Views, numbers: list[int]) -> Tensor | None:
        pixels = torch.from_numpy(np.stack([views.pixels[number] for number in numbers])).to(self.device)
        corners = torch.tensor([[views.boxes[number].top, views.boxes[number].left] for number in numbers])
        where = Positions(torch.zeros(len(numbers), dtype=torch.bool, device=self.device), corners.to(self.device))
        return self.detector.glance(pixels.permute(0, 3, 1, 2), where)

    def is_settled(self, image: _InFlight[Ticket]) -> bool:
        """Return whether the verdict is settled."""
        if len(image.seen()) == len(image.order):  # the suspects may have been the only patches left
            image.requested = len(image.order)
            return True
        if self.settled is None or image.views is None:
            return False
        encoded = self._rows_of(image, image.due())
        with torch.inference_mode():
            logit, effects = float(self.detector.decide(encoded).logit), self.detector.attribute(encoded).tolist()
        error = jackknife_error(logit, effects) if effects else 0.0
        return self.settled(logit, error, len(effects), image.views.patches)

    def output_of(self, image: _InFlight[Ticket]) -> ImageOutput:
        """Return the detector's output, based on the views encoded so far."""
        started, views = time.perf_counter(), image.views or Views([], [])
        with torch.inference_mode():
            encoded = self._rows_of(image, image.due())
            decision = self.detector.decide(encoded)
            whole = views.grid if image.requested == len(image.order) else None
            heatmap = self.detector.locate(encoded, whole) if whole and self.detector.has_heatmap else None
            attributions = self.detector.attribute(encoded).tolist() if self.explain else []
        return ImageOutput(
            float(decision.logit),
            _float(decision.quality),
            _float(decision.uncertainty),
            decision.domain,
            decision.family,
            None if heatmap is None else heatmap.cpu().numpy(),
            attributions,
            image.seconds + time.perf_counter() - started,
            views.patches - (len(image.order) - len(image.seen())),
        )

    def is_alarming(self, image: _InFlight[Ticket]) -> bool:
        """Return whether a suspicious patch requires a full scan."""
        if self.alarmed is None or image.requested == len(image.order):
            return False
        with torch.inference_mode():
            logit = float(self.detector.decide(self._rows_of(image, image.due())).logit)
            hottest = self.detector.hottest(self._rows_of(image, image.seen()))
        return hottest is not None and len(hottest) > 0 and self.alarmed(logit, float(hottest.max()))

    def _rows_of(self, image: _InFlight[Ticket], seen: list[int]) -> Encoded:
        """Return the encoded rows of some views of an image."""
        copied = [number for number in seen if number in image.repeats]
        for rows in image.encoded.values() if copied else ():
            rows[copied] = rows[[image.repeats[number] for number in copied]]
        if len(seen) == len(image.order):
            return dict(image.encoded)
        return {name: rows[seen] for name, rows in image.encoded.items()}


class _Flight(Generic[Ticket]):
    """The images of one run, from input to output."""

    def __init__(self, engine: Engine, on_batch: Callable[[int], None]):
        self._engine, self._on_batch = engine, on_batch
        self._batch: Batch[_InFlight[Ticket]] = engine.runner.new_batch(engine.batch_size)  # being filled
        self._free: list[Batch[_InFlight[Ticket]]] = []
        self._running: deque[tuple[Batch[_InFlight[Ticket]], Future[Encoding]]] = deque()
        self._waiting: deque[_InFlight[Ticket]] = deque()  # images whose output was not yielded yet
        self._open: list[_InFlight[Ticket]] = []  # waiting images without an output
        self._requesting: deque[_InFlight[Ticket]] = deque()  # open images that request views

    def enter(self, ticket: Ticket, views: Views | None) -> None:
        """Add an image."""
        if views is None:
            self._waiting.append(_InFlight(ticket, None, done=True))
            return
        fast = self._engine.settled is not None
        order = _spread(views) if fast else list(range(len(views)))
        image = _InFlight(ticket, views, order, _repeats(views, order))
        image.to_request = _INITIAL_VIEWS if fast else len(order)
        if fast:
            image.suspects = self._engine.suspects(image)
        for queue in (self._waiting, self._open, self._requesting):
            queue.append(image)

    def advance(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Batch the requested views; yield images that this completes."""
        while self._requesting:
            image = self._requesting.popleft()
            for _ in self._filled(image, image.next_views()):
                yield from self._flush()
            if image.requested == len(image.order) and image.views is not None:
                image.views = _without_pixels(image.views)
            self._settle()  # all requested views may be repeats
        yield from self._finished()

    def land(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Run all requested views, even in partial batches, until every output is known."""
        yield from self.advance()
        while self._batch.owners or self._running:
            if self._batch.owners:
                yield from self._flush()
            else:
                yield from self._collect()
            yield from self.advance()

    def _filled(self, image: _InFlight[Ticket], numbers: list[int]) -> Iterator[None]:
        """Add views of an image to the batch; yield whenever the batch is full and must be run."""
        views = image.views or Views([], [])
        for number in numbers:
            if not self._batch.fits(views.pixels[number]):
                yield
            box, thumbnail = views.boxes[number], views.thumbnail and number == 0
            self._batch.add(views.pixels[number], (box.top, box.left), thumbnail, (image, number))
            if len(self._batch.owners) == self._batch.capacity:
                yield

    def _flush(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Start the batch, and yield outputs of finished batches: while one runs, the next is filled."""
        runner = self._engine.runner
        self._running.append((self._batch, runner.submit(self._batch)))
        if len(self._running) > runner.overlaps:
            yield from self._collect()
        self._batch = self._free.pop() if self._free else runner.new_batch(self._engine.batch_size)

    def _collect(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Wait for the oldest running batch, and yield the outputs that it completes."""
        batch, submitted = self._running.popleft()
        encoding, count = self._engine.runner.result(submitted), len(batch.owners)
        self._engine.hand_out(batch, encoding)
        self._free.append(batch)
        self._on_batch(count)
        self._settle()
        yield from self._finished()

    def _settle(self) -> None:
        """Close settled images; the others double their number of requested views."""
        for image in [one for one in self._open if not one.pending and not one.to_request]:
            settled = self._engine.is_settled(image)
            if settled and self._engine.is_alarming(image):
                image.to_request = len(image.order)
                self._requesting.append(image)
            elif settled:
                image.output, image.done = self._engine.output_of(image), True
                image.encoded, image.views = {}, None
                self._open.remove(image)
            else:
                image.to_request = image.requested
                self._requesting.append(image)

    def _finished(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Yield finished images from the head of the queue."""
        while self._waiting and self._waiting[0].done:
            image = self._waiting.popleft()
            yield image.ticket, image.output


def _are_consecutive(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _float(value: Tensor | None) -> float | None:
    return None if value is None else float(value)


def _without_pixels(views: Views) -> Views:
    return Views([], views.boxes, views.thumbnail, views.patches, views.grid)


def _spread(views: Views) -> list[int]:
    """Order views so that every prefix is spread over the image; the thumbnail stays first."""
    if views.grid is None:
        return list(range(len(views)))
    first = len(views) - len(views.grid)
    return [*range(first), *(first + number for number in spread_order(views.grid))]


def _repeats(views: Views, order: list[int]) -> dict[int, int]:
    """Map patches of a uniform colour to the first one of that colour, so that each colour is encoded once.

    The thumbnail is excluded.
    """
    first: dict[bytes, int] = {}
    repeats = {}
    for number in order:
        view = views.pixels[number]
        colour = view[0, 0]
        if (view[-1, -1] == colour).all() and (view == colour).all() and not (views.thumbnail and number == 0):
            before = first.setdefault(colour.tobytes(), number)
            if before != number:
                repeats[number] = before
    return repeats


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
        raise DeviceError(f"--device {name}: unknown device; choose auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"--device {name}: no such CUDA device ({torch.cuda.device_count()} found)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available on this machine")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device {name}: unknown device; choose auto, cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for auto, bf16 or fp32; auto is bf16 if the hardware supports it, else fp32.

    Raises:
        DeviceError: For any other name.
    """
    if precision == "auto":
        fast = {"cuda": _cuda_has_bf16, "cpu": cpu_has_bf16}.get(device.type, lambda: False)()
        return torch.bfloat16 if fast else torch.float32
    try:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    except KeyError:
        raise DeviceError(f"--precision {precision}: choose auto, bf16 or fp32") from None


def default_batch_size(device: torch.device) -> int:
    """Return the views per batch: the fastest on 2 CPU cores; enough to fill a GPU."""
    return 128 if device.type == "cuda" else 16


def _cuda_has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def cpu_has_bf16() -> bool:
    """Return whether the CPU has AVX512-BF16, AMX or Arm BF16; without them, bf16 is slower than fp32."""
    flags = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return flags != "DEFAULT" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)

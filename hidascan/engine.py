"""Fill batches with views of many images, run them on one device, and hand out what a detector says of each image."""

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
from hidascan.geometry import spread_order
from hidascan.image.views import Views
from hidascan.settling import FEWEST, SUSPECTS, Alarmed, Settled, doubt_of

Ticket = TypeVar("Ticket")

_FIRST = FEWEST + 2  # views of an image that are asked for at first, where not all are


@dataclass(frozen=True)
class ImageOutput:
    """Output of a detector for one image.

    Attributes:
        logit: Raw logit, above 0 for AI.
        quality: Estimated JPEG quality 1..100, where the detector has it.
        uncertainty: Standard deviation of the score, where the detector has it.
        domain: Kind of picture, where the detector has it.
        family: Most similar family of generators, where the detector has it.
        heatmap: (h, w) float32 p(AI) of each cell, where the detector has it and all patches were examined.
        attributions: Influence of each view but the thumbnail, with `explain`.
        seconds: Device time in seconds.
        looked_at: Number of patches examined.
    """

    logit: float
    quality: float | None
    uncertainty: float | None
    domain: str | None
    family: str | None
    heatmap: np.ndarray | None
    attributions: list[float]
    seconds: float
    looked_at: int


@dataclass
class _InFlight(Generic[Ticket]):
    """An image with views in flight.

    Attributes:
        ticket: Owner of the image.
        views: Views, with their pixels as long as more of them may be requested.
        order: Numbers of its views, in the order of requests.
        repeats: Duplicate views that are not run -> views with the same pixels.
        suspects: Views requested first, besides those in order.
        asks: Number of views still to request.
        asked: Number of views requested in order.
        missing: Number of requested views not yet encoded.
        encoded: Rows of all views, on the device.
        seconds: Device time in seconds.
        done: Whether the output is known.
        output: Output of the detector; None also without views.
    """

    ticket: Ticket
    views: Views | None
    order: list[int] = field(default_factory=list)
    repeats: dict[int, int] = field(default_factory=dict)
    suspects: list[int] = field(default_factory=list)
    asks: int = 0
    asked: int = 0
    missing: int = 0
    encoded: Encoded = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = False
    output: ImageOutput | None = None

    def next_views(self) -> list[int]:
        """Return those of the views that it asks for which have to be run."""
        due, self.asks = self.order[self.asked : self.asked + self.asks], 0
        besides = [] if self.asked else self.suspects
        seen = {*self.repeats, *(self.suspects if self.asked else ())}
        self.asked += len(due)
        wanted = [number for number in (*due, *besides) if number not in seen]
        self.missing += len(wanted)
        return wanted

    def due(self) -> list[int]:
        """Return the views by which the image is judged: all that were asked for by the order, in that of the plan."""
        return sorted(self.order[: self.asked])

    def seen(self) -> list[int]:
        """Return all views that were asked for, in the order of the plan."""
        return sorted({*self.order[: self.asked], *self.suspects})


class Engine:
    """Runs a detector on full batches.

    Memory is bounded by one batch (two where they overlap), what was encoded of the images in flight, and the pixels
    of those few that may ask for more.
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
            detector: On its device.
            encode: Encoder of batches of views: `detector.runtime(...)`.
            device: Device of both.
            batch_size: Views a batch.
            explain: Whether attributions are wanted.
            settled: Early-stopping rule; None to examine all patches.
            alarmed: Rule by which a suspicious patch requires a full scan.
            overlaps: As of BatchRunner.
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
            images: Views of None pass through as an output of None. A None in place of both says that no image is
                ready: then a batch is run as full as it is.
            on_batch: Told the number of views of every batch that the device has finished.
        """
        flight: _Flight[Ticket] = _Flight(self, on_batch)
        for entry in images:
            if entry is None:
                yield from flight.land()
            else:
                views, ticket = entry[1], entry[0]
                entry = None
                flight.enter(ticket, views)
                views = None  # let go of the pixels before the next image is asked for
                yield from flight.advance()
        yield from flight.land()

    def hand_out(self, batch: Batch[_InFlight[Ticket]], encoding: Encoding) -> None:
        """Hand the rows of a batch to the images that they belong to."""
        each = encoding.seconds / len(batch.owners)
        for image, first, numbers in batch.runs():
            places = slice(numbers[0], numbers[-1] + 1) if _are_consecutive(numbers) else numbers
            for name, rows in encoding.rows.items():
                if name not in image.encoded:
                    image.encoded[name] = rows.new_empty((len(image.views or ()), *rows.shape[1:]))
                image.encoded[name][places] = rows[first : first + len(numbers)]
            image.missing -= len(numbers)
            image.seconds += each * len(numbers)
        batch.owners.clear()

    def suspects(self, image: _InFlight[Ticket]) -> list[int]:
        """Glance at all patches, and return those that look most like AI among those not asked for at first."""
        views, first = image.views or Views([], []), _FIRST
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
        excess = (rows - rows.median(0).values).clamp_min(0).norm(dim=1)  # over what is usual in this image
        ranked = [numbers[place] for place in excess.argsort(descending=True).tolist()]
        return [number for number in ranked if number in later][:SUSPECTS]

    def _glance(self, views: Views, numbers: list[int]) -> Tensor | None:
        pixels = torch.from_numpy(np.stack([views.pixels[number] for number in numbers])).to(self.device)
        corners = torch.tensor([[views.boxes[number].top, views.boxes[number].left] for number in numbers])
        where = Positions(torch.zeros(len(numbers), dtype=torch.bool, device=self.device), corners.to(self.device))
        return self.detector.glance(pixels.permute(0, 3, 1, 2), where)

    def is_settled(self, image: _InFlight[Ticket]) -> bool:
        """Return whether the verdict is settled."""
        if len(image.seen()) == len(image.order):  # the suspects may have been all that was left
            image.asked = len(image.order)
            return True
        if self.settled is None or image.views is None:
            return False
        encoded = self._rows_of(image, image.due())
        with torch.inference_mode():
            logit, effects = float(self.detector.decide(encoded).logit), self.detector.attribute(encoded).tolist()
        doubt = doubt_of(logit, effects) if effects else 0.0
        return self.settled(logit, doubt, len(effects), image.views.patches)

    def output_of(self, image: _InFlight[Ticket]) -> ImageOutput:
        """Say what the detector says by the views of an image that it has seen."""
        started, views = time.perf_counter(), image.views or Views([], [])
        with torch.inference_mode():
            encoded = self._rows_of(image, image.due())
            decision = self.detector.decide(encoded)
            whole = views.grid if image.asked == len(image.order) else None
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
        if self.alarmed is None or image.asked == len(image.order):
            return False
        with torch.inference_mode():
            logit = float(self.detector.decide(self._rows_of(image, image.due())).logit)
            hottest = self.detector.hottest(self._rows_of(image, image.seen()))
        return hottest is not None and len(hottest) > 0 and self.alarmed(logit, float(hottest.max()))

    def _rows_of(self, image: _InFlight[Ticket], seen: list[int]) -> Encoded:
        """Return what was encoded of some views of an image."""
        copied = [number for number in seen if number in image.repeats]
        for rows in image.encoded.values() if copied else ():
            rows[copied] = rows[[image.repeats[number] for number in copied]]
        if len(seen) == len(image.order):
            return dict(image.encoded)
        return {name: rows[seen] for name, rows in image.encoded.items()}


class _Flight(Generic[Ticket]):
    """The images of one run, from entering to their outputs."""

    def __init__(self, engine: Engine, on_batch: Callable[[int], None]):
        self._engine, self._on_batch = engine, on_batch
        self._batch: Batch[_InFlight[Ticket]] = engine.runner.new_batch(engine.batch_size)  # that is filled
        self._free: list[Batch[_InFlight[Ticket]]] = []
        self._running: deque[tuple[Batch[_InFlight[Ticket]], Future[Encoding]]] = deque()
        self._waiting: deque[_InFlight[Ticket]] = deque()  # all whose output has not been handed out
        self._open: list[_InFlight[Ticket]] = []  # those of them that are not done
        self._asking: deque[_InFlight[Ticket]] = deque()  # and of these, those that ask for views

    def enter(self, ticket: Ticket, views: Views | None) -> None:
        """Take an image in."""
        if views is None:
            self._waiting.append(_InFlight(ticket, None, done=True))
            return
        fast = self._engine.settled is not None
        order = _spread(views) if fast else list(range(len(views)))
        image = _InFlight(ticket, views, order, _repeats(views, order))
        image.asks = _FIRST if fast else len(order)
        if fast:
            image.suspects = self._engine.suspects(image)
        for queue in (self._waiting, self._open, self._asking):
            queue.append(image)

    def advance(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Batch the requested views; yield images that this completes."""
        while self._asking:
            image = self._asking.popleft()
            for _ in self._filled(image, image.next_views()):
                yield from self._flush()
            if image.asked == len(image.order) and image.views is not None:
                image.views = _without_pixels(image.views)
            self._settle()  # what it asked for may all be repeats
        yield from self._finished()

    def land(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Run what has been asked for, although a batch may not be full, until all is known."""
        yield from self.advance()
        while self._batch.owners or self._running:
            if self._batch.owners:
                yield from self._flush()
            else:
                yield from self._collect()
            yield from self.advance()

    def _filled(self, image: _InFlight[Ticket], numbers: list[int]) -> Iterator[None]:
        """Put views of an image into the batch; yield whenever it has to be run first."""
        views = image.views or Views([], [])
        for number in numbers:
            if not self._batch.fits(views.pixels[number]):
                yield
            box, thumbnail = views.boxes[number], views.thumbnail and number == 0
            self._batch.add(views.pixels[number], (box.top, box.left), thumbnail, (image, number))
            if len(self._batch.owners) == self._batch.room:
                yield

    def _flush(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Run the batch, and yield what is known by those that are through: while one runs, the next is filled."""
        runner = self._engine.runner
        self._running.append((self._batch, runner.submit(self._batch)))
        if len(self._running) > runner.overlaps:
            yield from self._collect()
        self._batch = self._free.pop() if self._free else runner.new_batch(self._engine.batch_size)

    def _collect(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Wait for the first of the batches that run, and yield what is known thereby."""
        batch, submitted = self._running.popleft()
        encoding, count = self._engine.runner.result(submitted), len(batch.owners)
        self._engine.hand_out(batch, encoding)
        self._free.append(batch)
        self._on_batch(count)
        self._settle()
        yield from self._finished()

    def _settle(self) -> None:
        """Close images that are settled; others that wait for nothing ask for as much as they have seen."""
        for image in [one for one in self._open if not one.missing and not one.asks]:
            settled = self._engine.is_settled(image)
            if settled and self._engine.is_alarming(image):
                image.asks = len(image.order)
                self._asking.append(image)
            elif settled:
                image.output, image.done = self._engine.output_of(image), True
                image.encoded, image.views = {}, None
                self._open.remove(image)
            else:
                image.asks = image.asked
                self._asking.append(image)

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
    """Order views so that those before any of them are spread over the image; the thumbnail stays first."""
    if views.grid is None:
        return list(range(len(views)))
    first = len(views) - len(views.grid)
    return [*range(first), *(first + number for number in spread_order(views.grid))]


def _repeats(views: Views, order: list[int]) -> dict[int, int]:
    """Map patches that are all of one colour to the first of that colour, by the order.

    The margins of a screenshot need the network once. The thumbnail is not among them.
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

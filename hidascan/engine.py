"""Batch views of many images, run the batches on one device, and send the encoded rows of each image to its examination."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from hidascan.detectors.base import Decision, Encoded, EncodeViews
from hidascan.device import Batch, BatchRunner, Encoding
from hidascan.examination import Examination, ImageOutput, repeats_of
from hidascan.image.views import Views

Ticket = Any  # by which the caller recognises an image


@dataclass(frozen=True)
class Progress:
    """Progress of one image: numbers of views that were run and are still to be run, and a preliminary decision."""

    encoded: int
    missing: int
    decision: Decision | None = None


# Gets the progress of an image; returns whether to continue with it.
ViewWatch = Callable[[Ticket, Progress], bool]


_DROPPED = np.empty((0, 0, 3), np.uint8)  # in place of pixels that are not needed any more


class Engine:
    """Runs examinations of images on full batches.

    Memory is bounded by one batch (two where they overlap), the encoded rows of images in flight, and the pixels
    of those few that may request more views.
    """

    def __init__(
        self,
        examine: Callable[[Views], Examination],
        encode: EncodeViews,
        device: torch.device,
        batch_size: int,
    ):
        """Set up.

        Args:
            examine: Begins the examination of an image.
            encode: Encoder of batches of views: `detector.prepare_inference(...)`.
            device: Device of the encoder.
            batch_size: Views per batch.
        """
        self.examine, self.batch_size = examine, batch_size
        self.runner = BatchRunner(encode, device)

    def run(
        self,
        images: Iterable[tuple[Ticket, Views | None] | None],
        on_batch: Callable[[int], None] = lambda views: None,
        watch: ViewWatch = lambda ticket, progress: True,
        examine: Callable[[Views], Examination] | None = None,
    ) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Take (ticket, views) and yield (ticket, output) in the same order.

        Args:
            images: (ticket, views) pairs; views of None give an output of None. None instead of a pair means that no
                image is ready, so the partial batch is run. Pixels of a view are dropped once it is in a batch.
            on_batch: Callback that gets the number of views of every finished batch.
            watch: Callback that gets the progress of an image before its views are batched, and after each batch. If
                it returns False, no more views of that image are run, and its output is None.
            examine: Begins the examination of each image of this run; None for the engine's own.
        """
        run = _EngineRun(self, on_batch, watch, examine or self.examine)
        for entry in images:
            if entry is None:
                yield from run.drain()
            else:
                run.add_image(*entry)
                del entry  # free a finished image before the next is requested
                yield from run.fill_batches()
        yield from run.drain()


@dataclass(eq=False)
class _InFlight:
    """An image with views in flight."""

    ticket: Ticket  # by which the caller recognises the image
    views: Views  # with the pixels of those that are not in a batch yet
    examination: Examination | None  # None once the output is known
    wanted: list[int] = field(default_factory=list)  # views to run that its examination requested last
    missing: int = 0  # number of these not encoded yet
    requested: int = 0  # number of views that its examination has requested
    encoded_views: int = 0  # number of views that were run
    decision: Decision | None = None  # preliminary, of its examination
    colours: dict[bytes, int] = field(default_factory=dict)  # colour -> the view of that colour that is run
    repeats: dict[int, int] = field(default_factory=dict)  # views that are not run -> views with the same pixels
    encoded: Encoded = field(default_factory=dict)  # rows of all views, on the device
    seconds: float = 0.0  # device time in seconds
    output: ImageOutput | None = None  # result of its examination; None also without views

    def take_pixels(self, number: int) -> np.ndarray:
        """Return the pixels of a view, and drop them: they would keep those of the whole image."""
        pixels, self.views.pixels[number] = self.views.pixels[number], _DROPPED
        return pixels

    def take_rows(self, rows: Encoded, first: int, numbers: list[int]) -> None:
        """Copy the rows of some of its views, which begin at the `first` of a batch."""
        run = range(numbers[0], numbers[0] + len(numbers))
        places = slice(run.start, run.stop) if numbers == [*run] else numbers
        for name, values in rows.items():
            if name not in self.encoded:
                self.encoded[name] = values.new_empty((len(self.views), *values.shape[1:]))
            self.encoded[name][places] = values[first : first + len(numbers)]
        self.missing -= len(numbers)
        self.encoded_views += len(numbers)

    def progress(self) -> Progress:
        """Return its progress; views that were not requested yet count as missing."""
        return Progress(self.encoded_views, self.missing + len(self.views) - self.requested, self.decision)

    def abandon(self) -> None:
        """End its examination without an output."""
        self.examination, self.missing, self.wanted, self.encoded, self.views = None, 0, [], {}, Views([], [])

    @torch.inference_mode()
    def resume(self) -> None:
        """Continue its examination, until it requests views that have to be run, or ends."""
        while self.examination and not self.missing:  # all that it requests may be repeats
            started = time.perf_counter()
            for rows in self.encoded.values() if self.repeats else ():
                rows[list(self.repeats)] = rows[list(self.repeats.values())]
            try:
                self._request(self.examination.send(self.encoded) if self.encoded else next(self.examination))
            except StopIteration as end:
                self.abandon()
                self.output = end.value
            self.seconds += time.perf_counter() - started

    def _request(self, numbers: list[int] | Decision) -> None:
        if isinstance(numbers, Decision):
            self.decision = numbers
            return
        self.requested += len(numbers)
        repeats = repeats_of(self.views, numbers, self.colours)
        for number in repeats:
            self.take_pixels(number)
        self.repeats.update(repeats)
        self.wanted = [number for number in numbers if number not in repeats]
        self.missing = len(self.wanted)


class _EngineRun:
    """The images of one run, from input to output."""

    def __init__(
        self, engine: Engine, on_batch: Callable[[int], None], watch: ViewWatch, examine: Callable[[Views], Examination]
    ):
        self._engine, self._on_batch, self._watch, self._examine = engine, on_batch, watch, examine
        self._batch: Batch = engine.runner.new_batch(engine.batch_size)  # being filled
        self._free: list[Batch] = []
        self._running: deque[tuple[Batch, Future[Encoding]]] = deque()
        self._waiting: deque[_InFlight] = deque()  # images whose output was not yielded yet
        self._requesting: deque[_InFlight] = deque()  # those among them whose views are not in a batch yet

    def add_image(self, ticket: Ticket, views: Views | None) -> None:
        """Add an image."""
        image = _InFlight(ticket, views or Views([], []), None if views is None else self._examine(views))
        self._waiting.append(image)
        self._resume()

    def fill_batches(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Batch the requested views; yield images that this completes."""
        while self._requesting:
            image = self._requesting.popleft()
            self._report(image)
            for _ in self._filled(image):
                yield from self._flush()
        yield from self._finished()

    def drain(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Run all requested views, even in partial batches, until every output is known."""
        yield from self.fill_batches()
        while self._batch.owners or self._running:
            yield from self._flush() if self._batch.owners else self._collect()
            yield from self.fill_batches()

    def _filled(self, image: _InFlight) -> Iterator[None]:
        """Add the views that an image requests to the batch; yield whenever it is full and must be run."""
        for number in image.wanted:
            if not image.examination:  # abandoned
                return
            pixels, box = image.take_pixels(number), image.views.boxes[number]
            if not self._batch.fits(pixels):
                yield
            self._batch.add(pixels, (box.top, box.left), image.views.thumbnail and number == 0, (image, number))
            if len(self._batch.owners) == self._batch.capacity:
                yield

    def _flush(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Start the batch, and yield outputs of finished batches: while one runs, the next is filled."""
        runner = self._engine.runner
        self._running.append((self._batch, runner.submit(self._batch)))
        if len(self._running) > (1 if runner.overlaps else 0):  # on a GPU, one batch may still run
            yield from self._collect()
        self._batch = self._free.pop() if self._free else runner.new_batch(self._engine.batch_size)

    def _collect(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Wait for the oldest running batch, and yield the outputs that it completes."""
        batch, submitted = self._running.popleft()
        encoding, count = self._engine.runner.result(submitted), len(batch.owners)
        for image, first, numbers in batch.runs():
            if image.examination:
                image.take_rows(encoding.rows, first, numbers)
                image.seconds += encoding.seconds * len(numbers) / count
                self._report(image)
        batch.owners.clear()
        self._free.append(batch)
        self._on_batch(count)
        self._resume()
        yield from self._finished()

    def _report(self, image: _InFlight) -> None:
        """Report the progress of an image, and abandon it if it is not wanted any more."""
        if not self._watch(image.ticket, image.progress()):
            image.abandon()

    def _resume(self) -> None:
        """Resume the examinations that wait for nothing: each requests more views or returns its output."""
        for image in self._waiting:
            if image.examination and not image.missing:
                image.resume()
                if image.examination:
                    self._requesting.append(image)

    def _finished(self) -> Iterator[tuple[Ticket, ImageOutput | None]]:
        """Yield finished images from the head of the queue."""
        while self._waiting and not self._waiting[0].examination:
            image = self._waiting.popleft()
            yield image.ticket, image.output and replace(image.output, seconds=image.seconds)

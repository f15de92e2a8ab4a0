"""Decode ahead of the device: a few threads, ordered results, bounded pixels in memory."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from queue import Empty, Full, Queue, SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE = 10.0  # seconds that Python waits at its end for pictures that are being decoded
_POLL, _IDLE = 0.005, 0.05  # seconds to wait for the next item: during work, and before idling


class PixelBudget:
    """A gate that admits images, strictly in order, while the admitted pixels are under a limit.

    One image is always admitted. The consumer takes images in order, so a later image must not use up the budget of
    the next one: that would be a deadlock.
    """

    def __init__(self, limit: int):
        self._limit, self._used, self._turn, self._closed, self._refused = limit, 0, 0, False, False
        self._changed = threading.Condition()

    def enter(self, turn: int, pixels: int) -> None:
        """Block until `turn` is next and `pixels` fit.

        Raises:
            RuntimeError: If Python ends.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._turn == turn and (not self._used or self._used + pixels <= self._limit))
            )
            if self._refused:
                raise RuntimeError("Python ends")
            self._used += pixels
            self._turn += 1
            self._changed.notify_all()

    def leave(self, pixels: int) -> None:
        """Release the pixels of one image."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Admit all waiting images, as their results are no longer needed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def refuse(self) -> None:
        """Admit no more images, as Python ends."""
        self._refused = True
        self.close()


def prefetch(
    work: Callable[[Item, Callable[[int], None]], Result], items: Iterable[Item], threads: int, max_pixels: int
) -> Iterator[Result | None]:
    """Yield work(item, admit) for every item in order, computed up to 2 * threads items ahead.

    None means that all items so far are done and the input is idle, for example an interactive pipe.

    `work` calls admit(pixels) at most once, before it allocates them; they count until the next result is requested, and
    at most `max_pixels` are in results that are not yet taken; one larger image is admitted alone. `work` must return
    errors, not raise them.
    """
    budget = PixelBudget(max_pixels)
    pool: _Threads[tuple[Result, int]] = _Threads(threads, budget)
    queue: deque[Future[tuple[Result, int]]] = deque()
    source, turn = _Source(items, 2 * threads), 0
    try:
        idle = False
        while True:
            patience = None if idle else _POLL if queue or not turn else _IDLE
            while len(queue) < 2 * threads and (given := source.next(patience)):
                queue.append(pool.submit(partial(_admitted, work, budget, turn, given[0])))
                turn, patience = turn + 1, _POLL
            idle = not queue
            if queue:
                yield from _take(queue, budget)
            elif source.ended:
                return
            else:
                yield None
    finally:
        source.close()
        budget.close()
        for future in queue:
            future.cancel()
        pool.close()


def _admitted(
    work: Callable[[Item, Callable[[int], None]], Result], budget: PixelBudget, turn: int, item: Item
) -> tuple[Result, int]:
    """Return work(item, admit), and the number of pixels that it had admitted to the budget; 0 if it did not ask."""
    admitted: list[int] = []

    def admit(pixels: int) -> None:
        budget.enter(turn, pixels)
        admitted.append(pixels)

    result = work(item, admit)
    if not admitted:
        admit(0)
    return result, admitted[0]


class _Threads(Generic[Result]):
    """Daemon threads that work on tasks in order.

    Python waits at its end for the threads of an executor, which may wait for a consumer that has left its scan early.
    Ours are ended by `_end_threads`.
    """

    def __init__(self, number: int, budget: PixelBudget):
        self._tasks: SimpleQueue[tuple[Future[Result], Callable[[], Result]] | None] = SimpleQueue()
        self._budget, self._is_ending = budget, False
        self._threads = [threading.Thread(target=self._run, name=f"decode_{at}", daemon=True) for at in range(number)]
        _running.add(self)
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[], Result]) -> Future[Result]:
        """Add a task, and return its result to come."""
        future: Future[Result] = Future()
        self._tasks.put((future, task))
        return future

    def _run(self) -> None:
        while (entry := self._tasks.get()) is not None:
            future, task = entry
            if self._is_ending or not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task())
            except BaseException as error:  # raised again in the consumer
                future.set_exception(error)
            del entry, future, task  # a result may hold many pixels

    def close(self) -> None:
        """End the threads after the tasks that are not cancelled, without waiting for them."""
        for _ in self._threads:
            self._tasks.put(None)

    def end(self) -> None:
        """End the threads after the tasks that they work on."""
        self._is_ending = True
        self._budget.refuse()
        self.close()

    def join(self, deadline: float) -> None:
        """Wait for the threads until a time of the monotonic clock."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


_running: WeakSet[_Threads[Any]] = WeakSet()


@atexit.register
def _end_threads() -> None:
    """End all threads when Python ends, as one that then returns from a C++ library would abort the process."""
    pools, deadline = list(_running), time.monotonic() + _PATIENCE
    for pool in pools:
        pool.end()
    for pool in pools:
        pool.join(deadline)


class _Source(Generic[Item]):
    """Items that a thread takes from an iterable, which may block if it reads a pipe."""

    def __init__(self, items: Iterable[Item], ahead: int):
        self.ended = False
        self._queue: Queue[tuple[Item] | BaseException | None] = Queue(ahead)
        self._closed = threading.Event()
        threading.Thread(target=self._read, args=(items,), name="sources", daemon=True).start()

    def _read(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                self._put((item,))
                if self._closed.is_set():
                    return
            self._put(None)
        except BaseException as error:  # raised again in the consumer
            self._put(error)

    def _put(self, entry: tuple[Item] | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(entry, timeout=0.1)
            except Full:
                continue

    def next(self, patience: float | None) -> tuple[Item] | None:
        """Return the next item in a tuple; None after the last one, or after `patience` seconds without any.

        A patience of None has no limit.
        """
        if self.ended:
            return None
        try:
            entry = self._queue.get(timeout=patience)
        except Empty:
            return None
        if isinstance(entry, BaseException):
            self.ended = True
            raise entry
        self.ended = entry is None
        return entry

    def close(self) -> None:
        """Release the thread; one that is blocked by a pipe lives until the process ends."""
        self._closed.set()


def _take(queue: deque[Future[tuple[Result, int]]], budget: PixelBudget) -> Iterator[Result]:
    result, pixels = queue.popleft().result()
    yield result
    budget.leave(pixels)

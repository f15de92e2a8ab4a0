"""Decode ahead of the device: a few threads, results in order, the pixels in memory bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class PixelBudget:
    """A gate that lets images in, strictly in order, while the pixels already in are under a limit.

    One is always let in.

    Strictly in order, because the consumer takes them so: a later image that took the last of the budget could
    otherwise keep out the one that everybody waits for.
    """

    def __init__(self, limit: int):
        self._limit, self._used, self._turn, self._closed = limit, 0, 0, False
        self._changed = threading.Condition()

    def enter(self, turn: int, pixels: int) -> None:
        """Block until `turn` is next and `pixels` fit."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._turn == turn and (not self._used or self._used + pixels <= self._limit))
            )
            self._used += pixels
            self._turn += 1
            self._changed.notify_all()

    def leave(self, pixels: int) -> None:
        """Give the pixels of one image back."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody through: nobody will take the results."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def prefetch(
    work: Callable[[Item, Callable[[int], None]], Result],
    items: Iterable[Item],
    threads: int,
    max_pixels: int,
) -> Iterator[Result]:
    """Yield work(item, admit) for every item in order, computed up to 2 * threads items ahead.

    Args:
        work: Must call admit(pixels) at most once, before it allocates them; they count until the next result is
            asked for. It must not raise, but return what went wrong.
        items: What to work on; taken as threads become free.
        threads: How many.
        max_pixels: Of all results that nobody has taken yet.
    """
    budget = PixelBudget(max_pixels)

    def run(turn: int, item: Item) -> tuple[Result, int]:
        admitted: list[int] = []

        def admit(pixels: int) -> None:
            budget.enter(turn, pixels)
            admitted.append(pixels)

        result = work(item, admit)
        if not admitted:
            admit(0)
        return result, admitted[0]

    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    queue: deque[Future[tuple[Result, int]]] = deque()
    try:
        for turn, item in enumerate(items):
            queue.append(pool.submit(run, turn, item))
            if len(queue) >= 2 * threads:
                yield from _take(queue, budget)
        while queue:
            yield from _take(queue, budget)
    finally:
        budget.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _take(queue: deque[Future[tuple[Result, int]]], budget: PixelBudget) -> Iterator[Result]:
    result, pixels = queue.popleft().result()
    yield result
    budget.leave(pixels)

"""Load samples in threads, ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Loaded = TypeVar("Loaded")


def read_ahead(load: Callable[[int], Loaded], count: int, ahead: int = 2, workers: int = 1) -> Iterator[Loaded]:
    """Yield load(0), load(1), ... load(count - 1), in order, loaded by threads, a few ahead of the consumer."""
    with ThreadPoolExecutor(workers) as reader:
        queue = [reader.submit(load, number) for number in range(min(ahead, count))]
        for number in range(count):
            ready = queue.pop(0).result()
            if number + ahead < count:
                queue.append(reader.submit(load, number + ahead))
            yield ready

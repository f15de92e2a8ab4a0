"""A progress bar on stderr, only when stderr is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class ScanProgress:
    """Counts views as the device finishes them, and images as they are reported."""

    def __init__(self, hidden: bool):
        self._bar = tqdm(unit=" patches", desc="scanning", disable=True if hidden else None, leave=False)
        self._images = 0

    def on_batch(self, views: int) -> None:
        self._bar.update(views)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """While a row is written the bar is out of the way."""
        self._images += 1
        with tqdm.external_write_mode():
            yield
        self._bar.set_postfix_str(f"{self._images} images", refresh=False)

    def close(self) -> None:
        self._bar.close()

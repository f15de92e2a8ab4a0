"""Show progress on stderr, if it is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class ScanProgress:
    """A progress bar that counts finished views and reported images."""

    def __init__(self, hidden: bool):
        self._bar = tqdm(unit=" views", desc="scanning", disable=True if hidden else None, leave=False)
        self._images = 0

    def on_batch(self, views: int) -> None:
        """Count views."""
        self._bar.update(views)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Hide the bar while a row is written."""
        self._images += 1
        with tqdm.external_write_mode():
            yield
        self._bar.set_postfix_str(f"{self._images} images", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

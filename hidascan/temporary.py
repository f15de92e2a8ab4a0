"""Temporary folders, which are also removed if the process ends without waiting for its threads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_open: set[str] = set()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary folder, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="hidascan-") as folder:
        _open.add(folder)
        try:
            yield Path(folder)
        finally:
            _open.discard(folder)


def remove_temporary_folders() -> None:
    """Remove all open temporary folders, before a process ends at once."""
    for folder in list(_open):
        shutil.rmtree(folder, ignore_errors=True)

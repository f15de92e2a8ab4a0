"""Write files atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_MAX_NAME = 200  # bytes of a name that leave room for what a partial file adds to it; file systems allow 255


@contextmanager
def atomic_write(path: str | os.PathLike[str], replace: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and move that file into place if the body succeeds.

    After an error, the partial file is removed and `path` is unchanged. The partial file has a unique name.

    Raises:
        FileExistsError: If the file exists, unless `replace`.
    """
    target = Path(path)
    partial = _new_file_beside(target)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave an empty file under the final name
        if replace:
            partial.replace(target)
        else:
            _move_to_new_name(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _new_file_beside(target: Path) -> Path:
    short = target.name if len(os.fsencode(target.name)) <= _MAX_NAME else target.name[:50]
    for number in count():
        partial = target.with_name(f".{short}.{os.getpid()}{f'.{number}' if number else ''}.partial")
        try:
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        return partial
    raise AssertionError


def _move_to_new_name(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(f"{target}: file exists") from None
        partial.replace(target)

"""Files elsewhere: s3://, gs://, https://, file:// and what else Arrow and fsspec know. Needs pyarrow.

Only the fleet reads them; a scan on this machine never opens a connection.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hidascan.errors import ImageError, UsageError
from hidascan.image.formats import suffixes
from hidascan.image.sources import Selection

_URI = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_TRIES = 3
_PAUSE = 0.5  # seconds before the second try; twice as long before each further one


def is_uri(path: str) -> bool:
    """Tell `s3://bucket/a.jpg` from a path."""
    return bool(_URI.match(path))


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return an Arrow file system and the path within it.

    Raises:
        UsageError: For a scheme that nobody here knows, or a place that cannot be reached.
    """
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        if uri.partition("://")[0] in ("file", "s3", "gs"):
            filesystem, path = FileSystem.from_uri(uri)
            return filesystem, path
        from fsspec.core import url_to_fs

        other, path = url_to_fs(uri)
    except (ImportError, ValueError, OSError) as error:
        raise UsageError(f"{uri}: {error}") from None
    return PyFileSystem(FSSpecHandler(other)), path


def list_uri(uri: str, selection: Selection) -> Iterator[str]:
    """Yield the URIs of the images in a folder, sorted; anything but a folder is yielded as it is.

    Nobody is asked about a URI with the suffix of an image: lists of millions are of such.

    Raises:
        UsageError: As `open_filesystem`.
    """
    from pyarrow.fs import FileSelector, FileType

    if uri.startswith(("http://", "https://")) or posixpath.splitext(uri)[1].lower() in suffixes():
        yield uri
        return
    filesystem, path = open_filesystem(uri)
    try:
        if filesystem.get_file_info(path).type != FileType.Directory:
            yield uri
            return
        found = filesystem.get_file_info(FileSelector(path, recursive=selection.recurse))
    except OSError as error:
        raise UsageError(f"{uri}: {error}") from None
    base = path.rstrip("/")
    for one in sorted(found, key=lambda info: info.path):
        below = one.path[len(base) :].lstrip("/")
        folders = below.split("/")[:-1]
        hidden = any(selection.leaves_out(name, "/".join(folders[: at + 1])) for at, name in enumerate(folders))
        if one.type == FileType.File and not hidden and selection.takes(posixpath.basename(below), below):
            yield f"{uri.rstrip('/')}/{below}"


def fetch(uri: str, folder: Path) -> Path:
    """Copy a file into a folder of this machine, and return where it is.

    Raises:
        ImageError: If it cannot be had after a few tries.
    """
    target = folder / (posixpath.basename(uri.partition("?")[0]) or "image")
    for attempt in range(_TRIES):
        try:
            filesystem, path = open_filesystem(uri)
            with filesystem.open_input_stream(path) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except Exception as error:  # every file system has errors of its own
            if attempt + 1 == _TRIES:
                reason = str(error).removeprefix(f"{uri}: ") or type(error).__name__
                raise ImageError(f"cannot be fetched: {reason}") from None
            time.sleep(_PAUSE * 2**attempt)
        else:
            break
    return target

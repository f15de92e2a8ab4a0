"""Access remote files: s3://, gs://, https://, file:// and others that Arrow and fsspec support. Requires pyarrow.

Only fleet scans use this module; a local scan never opens a connection.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hidascan.errors import ImageError, UsageError
from hidascan.image.folders import SkippedFiles, SkipReason, Survey, system_file, system_folder
from hidascan.image.formats import LARGEST_FILE, TOO_LARGE, suffixes
from hidascan.image.sources import Selection, Unreadable

_TRIES = 3
_PAUSE = 0.5  # seconds before the second try, doubled before each further one
_ARROW = ("file", "s3", "gs")  # schemes of Arrow, which decodes percent signs; fsspec opens all others
_BLOCK = 1 << 20  # bytes per read


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return an Arrow file system and the path within it.

    Raises:
        UsageError: For an unknown scheme, or a location that cannot be reached.
    """
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        if uri.partition("://")[0] in _ARROW:
            filesystem, path = FileSystem.from_uri(uri)
            return filesystem, path
        from fsspec.core import url_to_fs

        other, path = url_to_fs(uri)
    except (ImportError, ValueError, OSError) as error:
        raise UsageError(f"{uri}: {error}") from None
    return PyFileSystem(FSSpecHandler(other)), path


def list_uri(uri: str, selection: Selection, survey: Survey) -> Iterator[str]:
    """Yield the URIs of the images in a folder, sorted; yield any other URI unchanged.

    A URI with the suffix of an image is not looked up, as lists may have millions of these. One that cannot be reached
    is yielded as `Unreadable`.
    """
    from pyarrow.fs import FileSelector, FileType

    if uri.startswith(("http://", "https://")) or posixpath.splitext(uri)[1].lower() in suffixes():
        yield uri
        return
    try:
        filesystem, path = open_filesystem(uri)
        if filesystem.get_file_info(path).type != FileType.Directory:
            yield uri
            return
        found = filesystem.get_file_info(FileSelector(path, recursive=selection.recurse))
    except (UsageError, OSError) as error:
        yield Unreadable(uri, str(error).removeprefix(f"{uri}: "))
        return
    decoded = uri.partition("://")[0] in _ARROW
    start, mark, query = uri.partition("?") if decoded else (uri, "", "")  # such as the region of a bucket
    base, skipped, any_image = path.rstrip("/"), SkippedFiles(), False
    for one in sorted(found, key=lambda info: info.path):
        below = one.path[len(base) :].lstrip("/")
        if one.type == FileType.File and _takes(selection, below, skipped):
            any_image = True
            name = quote(below) if decoded else below
            yield f"{start.rstrip('/')}/{name}{mark}{query}"
    survey.add_folder(uri, skipped, selection.include, any_image)


def _takes(selection: Selection, below: str, skipped: SkippedFiles) -> bool:
    """Return whether to scan a file, by its path below the folder; count it if not."""
    *folders, name = below.split("/")
    if system := next(filter(None, map(system_folder, folders)), "") or system_file(name, below):
        skipped.system[system] += 1
        return False
    hidden = any(selection.excludes(folder, "/".join(folders[: at + 1])) for at, folder in enumerate(folders))
    skip_reason = SkipReason.EXCLUDED if hidden else selection.skip_reason(name, below)
    if skip_reason is not None:
        skipped.add(skip_reason, name)
    return skip_reason is None


def fetch(uri: str, folder: Path) -> Path:
    """Copy a file into a local folder, and return its path.

    Raises:
        ImageError: If several tries fail, or the file is too large.
    """
    target = folder / "image"  # the name in the address may be longer than a file's
    for attempt in range(_TRIES):
        try:
            filesystem, path = open_filesystem(uri)
            with filesystem.open_input_stream(path) as source, target.open("wb") as copy:
                while block := source.read(_BLOCK):
                    copy.write(block)
                    if copy.tell() > LARGEST_FILE:
                        raise ImageError(TOO_LARGE)
        except ImageError:
            raise
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except Exception as error:  # each file system has its own errors
            if attempt + 1 == _TRIES:
                reason = str(error).removeprefix(f"{uri}: ") or type(error).__name__
                raise ImageError(f"download failed: {reason}") from None
            time.sleep(_PAUSE * 2**attempt)
        else:
            break
    return target

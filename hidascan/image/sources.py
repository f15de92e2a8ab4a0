"""Turn files, folders and lists on standard input into paths, each once, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from hidascan.image.formats import suffixes

HEATMAP_SUFFIX = ".heatmap.png"
RAW_HEATMAP_SUFFIX = ".heatmap-raw.png"
ATTRIBUTIONS_SUFFIX = ".effects.png"


@dataclass(frozen=True)
class Selection:
    """Which files of a folder are taken. A pattern without a slash is about names, another about paths below the folder.

    Attributes:
        include: Patterns of which a file must match one, if there are any; they stand in for the suffixes of images.
        exclude: Patterns of which neither a file nor a folder above it may match one.
        recurse: Whether folders in folders are searched.
        follow_links: Whether links to folders are.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recurse: bool = True
    follow_links: bool = False

    def takes(self, name: str, below: str) -> bool:
        """Tell whether a file is taken, by its name and its path below the folder."""
        lower = name.lower()
        if lower.endswith((HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX, ATTRIBUTIONS_SUFFIX)) or self.leaves_out(name, below):
            return False
        if self.include:
            return _matches(self.include, name, below)
        return os.path.splitext(lower)[1] in suffixes()

    def leaves_out(self, name: str, below: str) -> bool:
        """Tell whether a file or folder is excluded."""
        return _matches(self.exclude, name, below)


def _matches(patterns: tuple[str, ...], name: str, below: str) -> bool:
    return any(fnmatch(below if "/" in pattern else name, pattern) for pattern in patterns)


def expand(paths: Iterable[str], selection: Selection | None = None) -> Iterator[str]:
    """Yield the files that `paths` name: files as they are, those of folders sorted, each file once.

    Of folders only files that `selection` takes are yielded, by default all with the suffix of an image. A path that
    does not exist is yielded too, so that it gets its own row.
    """
    seen = set()
    for given in paths:
        for path in _walk(given, selection or Selection()) if os.path.isdir(given) else (given,):
            key = os.path.abspath(path)
            if key not in seen:
                seen.add(key)
                yield path


def read_list(stream: Any, separator: bytes) -> Iterator[str]:
    r"""Yield paths from a buffered binary stream, separated by b"\n" or b"\0", as they come; skip empty ones."""
    rest = b""
    while block := stream.read1(1 << 16):
        *names, rest = (rest + block).split(separator)
        yield from (os.fsdecode(name) for name in names if name)
    if rest:
        yield os.fsdecode(rest)


def _walk(folder: str, selection: Selection) -> Iterator[str]:
    visited = set()  # a link to a folder above would never end
    for base, folders, files in os.walk(folder, followlinks=selection.follow_links):
        place = os.stat(base)
        if (place.st_dev, place.st_ino) in visited:
            folders.clear()
            continue
        visited.add((place.st_dev, place.st_ino))
        below = os.path.relpath(base, folder).replace(os.sep, "/").removeprefix(".").lstrip("/")
        folders[:] = sorted(name for name in folders if not selection.leaves_out(name, _joined(below, name)))
        if not selection.recurse:
            folders.clear()
        for name in sorted(files):
            if selection.takes(name, _joined(below, name)):
                yield os.path.join(base, name)


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name

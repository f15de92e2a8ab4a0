"""Turn files, folders and lists on standard input into paths, each once, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from hidascan.image.formats import suffixes

HEATMAP_SUFFIX = ".heatmap.png"
RAW_HEATMAP_SUFFIX = ".heatmap-raw.png"
ATTRIBUTIONS_SUFFIX = ".effects.png"


def expand(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files that `paths` name: files as they are, folders recursively and sorted, each file once.

    From folders only names with the suffix of an image are taken, and not the heatmaps that hidascan writes itself.
    A path that does not exist is yielded too, so that it gets its own row. Links to folders are not followed.
    """
    seen = set()
    for given in paths:
        for path in _walk(given) if os.path.isdir(given) else (given,):
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


def _walk(folder: str) -> Iterator[str]:
    known = suffixes()
    for base, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            lower = name.lower()
            if lower.endswith((HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX, ATTRIBUTIONS_SUFFIX)):
                continue
            if os.path.splitext(lower)[1] in known:
                yield os.path.join(base, name)

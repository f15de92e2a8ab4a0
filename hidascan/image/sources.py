"""Turn files, folders, file:// URIs and streams into paths, each once, in a stable order."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote_to_bytes

from hidascan.errors import ImageError, reason_of
from hidascan.image.folders import (
    APPLE_DOUBLE,
    UNSUPPORTED_PICTURES,
    SkippedFiles,
    SkipReason,
    Survey,
    system_file,
    system_folder,
)
from hidascan.image.formats import READABLE_KINDS, kind_from_head, suffixes

HEATMAP_SUFFIX = ".heatmap.png"
RAW_HEATMAP_SUFFIX = ".heatmap-raw.png"
ATTRIBUTIONS_SUFFIX = ".effects.png"

_OWN = (HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX, ATTRIBUTIONS_SUFFIX)
_URI = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_STREAM = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+")
_MAX_STREAM_BYTES, _BLOCK = 1 << 30, 1 << 20  # bytes


class Unreadable(str):
    """A path that cannot be read, with the reason; it gets a row like any other path."""

    reason: str

    def __new__(cls, path: str, reason: str = "") -> Unreadable:
        """Create the path; being a str, it can be used like other paths."""
        made = super().__new__(cls, path)
        made.reason = reason
        return made


@dataclass(frozen=True)
class Selection:
    """Rule that selects files in folders. A pattern with a slash matches relative paths, any other matches names."""

    include: tuple[str, ...] = ()  # patterns of files to scan, instead of suffixes of images
    exclude: tuple[str, ...] = ()  # patterns of files and folders to skip
    recurse: bool = True  # whether to search subfolders
    follow_links: bool = False  # whether to follow links to folders
    images: frozenset[str] = field(default_factory=suffixes)  # suffixes of images, in lower case

    def takes(self, name: str, below: str) -> bool:
        """Return whether to scan a file, by its name and its path below the folder."""
        return not system_file(name, below) and self.skip_reason(name, below) is None

    def skip_reason(self, name: str, below: str) -> SkipReason | None:
        """Return the reason to skip a file; None if there is none. Files of operating systems are not considered."""
        lower = name.lower()
        if lower.endswith(_OWN):
            return SkipReason.OWN
        if self.exclude and self.excludes(name, below):
            return SkipReason.EXCLUDED
        if self.include:  # in any case, as suffixes are
            include = tuple(pattern.lower() for pattern in self.include)
            return None if _matches(include, lower, below.lower()) else SkipReason.NOT_INCLUDED
        return None if os.path.splitext(lower)[1] in self.images else SkipReason.OTHER_KIND

    def excludes(self, name: str, below: str) -> bool:
        """Return whether a pattern excludes a file or folder."""
        return _matches(self.exclude, name, below)


def _matches(patterns: tuple[str, ...], name: str, below: str) -> bool:
    plain = (pattern.rstrip("/") for pattern in patterns)  # "cache/" is a usual spelling of the folder "cache"
    return any(
        any(fnmatch(below, one) for one in _spellings(pattern)) if "/" in pattern else fnmatch(name, pattern)
        for pattern in plain
    )


@functools.cache
def _spellings(pattern: str) -> list[str]:
    """Expand a pattern into those that together match its relative paths, as `**/` may also stand for no folder.

    As in .gitignore, a leading "/" or "./" is the searched folder.
    """
    start, *rest = re.split(r"(?:^|(?<=/))(?:\*\*/)+", re.sub(r"^(\.?/)+", "", pattern), maxsplit=1)
    if not rest:
        return [start]
    return [start + folders + end for end in _spellings(rest[0]) for folders in ("**/", "")]


def is_uri(path: str) -> bool:
    """Return whether a path is a URI, such as `s3://bucket/a.jpg`."""
    return bool(_URI.match(path))


def expand(
    paths: Iterable[str], selection: Selection | None = None, survey: Survey | None = None, uris: bool = False
) -> Iterator[str]:
    """Yield the files in files, folders and file:// URIs, those of each folder sorted, each file once.

    In folders, only files that match `selection` are yielded, by default those with the suffix of an image. A missing
    path is yielded, too, so that it gets a row; other unreadable paths, such as locked folders and URLs, are yielded
    as `Unreadable`; with `uris`, URIs are yielded unchanged. `survey` collects skipped files.
    """
    selection, survey = selection or Selection(), Survey() if survey is None else survey
    seen = set()
    for given in paths:
        place = given if uris and is_uri(given) else _on_this_machine(given)
        if not isinstance(place, Unreadable) and os.path.isdir(place):
            found = _search(place, selection, survey)
        else:
            found = iter([(place, place if uris and is_uri(place) else path_key(place))])
        for path, key in found:
            if key not in seen:
                seen.add(key)
                yield path


def _on_this_machine(given: str) -> str:
    """Return the local path for a URI, a path with a tilde, or an empty one; `Unreadable` if there is none."""
    if not given:
        return Unreadable(given, "the path is empty")
    if given[0] == "~" and os.path.expanduser(given) != given and not os.path.lexists(given):
        return Unreadable(given, "no such file: ~ is not expanded in quotes and in lists; write the full path")
    if re.match("file:/(?!/)", given, re.IGNORECASE) and not os.path.lexists(given):
        given = f"file://{given[5:]}"  # as Java writes it
    if not is_uri(given) or os.path.lexists(given):
        return given
    scheme, _, rest = given.partition("://")
    if scheme.lower() != "file":
        return Unreadable(given, "URLs need --runner ray")
    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        return Unreadable(given, f"file is on another machine: {host}")
    return os.fsdecode(unquote_to_bytes(os.fsencode(slash + path)))


def path_key(path: str) -> str:
    """Return a key that is equal for all spellings of a path, such as `a.jpg` and `./a.jpg`."""
    plain = os.path.abspath(path)
    if ".." not in path or "\0" in path:  # no file has a NUL in its path
        return plain
    parent = os.path.realpath(os.path.dirname(path))  # link/../a.jpg differs from a.jpg
    return plain if parent == os.path.realpath(os.path.dirname(plain)) else os.path.join(parent, os.path.basename(path))


def _search(folder: str, selection: Selection, survey: Survey) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder, each with its key, and record skipped ones."""
    skipped, found = SkippedFiles(), False
    for file in _FolderWalk(selection, skipped).files(folder):
        found = True
        yield file
    survey.add_folder(folder, skipped, selection.include, found)


@dataclass(frozen=True)
class _FolderWalk:
    """Recursive search of a folder that counts skipped files."""

    selection: Selection
    skipped: SkippedFiles

    def files(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield files and unreadable folders, each with its key: sorted by folder, before those of its subfolders."""
        visited: set[tuple[int, int]] = set()  # against cycles of links
        waiting = [(folder, "")]
        while waiting:
            place, below = waiting.pop()
            key = path_key(place)
            if self.selection.follow_links and not _is_first_visit(place, visited):
                continue
            folders, files, problem = _entries(place)
            for name in files:
                if self._takes(place, name, f"{below}{name}"):
                    path = os.path.join(place, name)
                    yield path, path if key == place else os.path.join(key, name)
            if problem:
                yield Unreadable(place, problem), key
            chosen = [name for name in folders if self._enters(place, name, f"{below}{name}", folders[name])]
            waiting += [(os.path.join(place, name), f"{below}{name}/") for name in reversed(chosen)]

    def _takes(self, place: str, name: str, below: str) -> bool:
        skipped, pattern = self.skipped, system_file(name, below)
        if pattern and not (pattern == APPLE_DOUBLE and _holds_an_image(os.path.join(place, name))):
            skipped.system[pattern] += 1
            return False
        skip_reason = self.selection.skip_reason(name, below)
        if skip_reason is SkipReason.OTHER_KIND and _is_unnamed_image(os.path.join(place, name)):
            skipped.unnamed += 1
        if skip_reason is not None:
            skipped.add(skip_reason, name)
        return skip_reason is None

    def _enters(self, place: str, name: str, below: str, is_link: bool) -> bool:
        selection, skipped = self.selection, self.skipped
        if pattern := system_folder(name):
            number = sum(len(files) for _, _, files in os.walk(os.path.join(place, name)))
            skipped.system[pattern] += number or 1
        elif selection.excludes(name, below):
            skipped.add(SkipReason.EXCLUDED, name)
        elif not selection.recurse:
            skipped.add(SkipReason.FOLDER, name)
        elif is_link and not selection.follow_links:
            skipped.add(SkipReason.LINK, name)
        else:
            return True
        return False


def _is_first_visit(folder: str, visited: set[tuple[int, int]]) -> bool:
    try:
        info = os.stat(folder)
    except OSError:
        return True  # listing it will fail, too, with the reason
    place = (info.st_dev, info.st_ino)
    if place in visited:
        return False
    visited.add(place)
    return True


def _entries(folder: str) -> tuple[dict[str, bool], list[str], str]:
    """List a folder: its subfolders, with whether each is a link, and its files, both sorted; and the error, if any."""
    folders, files, problem = {}, [], ""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders[entry.name] = entry.is_symlink()
                else:
                    files.append(entry.name)
    except OSError as error:
        problem = f"cannot read folder: {reason_of(error)}"
    return dict(sorted(folders.items())), sorted(files), problem


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cyclic link
        return False


def _is_unnamed_image(path: str) -> bool:
    """Return whether an image lacks the suffix of one, as in caches, backups and downloads.

    Pictures in unsupported formats are counted by their suffixes; the first bytes of some are those of a TIFF.
    """
    return os.path.splitext(path)[1].lower() not in UNSUPPORTED_PICTURES and _holds_an_image(path)


def _holds_an_image(path: str) -> bool:
    """Return whether a file is a picture by its first bytes, whatever its name."""
    try:
        if not os.path.isfile(path):  # opening a pipe would block
            return False
        with open(path, "rb", buffering=0) as file:
            return kind_from_head(file.read(64)) in READABLE_KINDS
    except OSError:
        return False


def is_stream(path: str) -> bool:
    """Return whether a path names an open stream: /dev/stdin, or a shell's <(command)."""
    return path.startswith(("/dev/", "/proc/")) and bool(_STREAM.fullmatch(path))


def copy_stream(path: str, folder: Path) -> Path:
    """Copy a stream to a file in `folder`, and return its path.

    Raises:
        ImageError: If it cannot be read, is a terminal, or exceeds 1 GiB.
    """
    target, size = folder / "stream", 0
    try:
        with open(path, "rb") as source, target.open("wb") as copy:
            if source.isatty():
                raise ImageError("is a terminal, not a file")
            while block := source.read(_BLOCK):
                size += copy.write(block)
                if size > _MAX_STREAM_BYTES:
                    raise ImageError("the pipe delivers more than 1 GB; save the image to a file first")
    except OSError as error:
        raise ImageError(reason_of(error)) from None
    return target

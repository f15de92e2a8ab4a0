"""The files to scan: paths, lists and tables of paths -> an iterator of paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from hidascan.image.filesystems import list_uri
from hidascan.image.folders import Survey
from hidascan.image.manifests import STDIN, paths_in
from hidascan.image.sources import Selection, expand, is_uri


@dataclass(frozen=True, kw_only=True)
class InputFiles:
    """Paths and lists of paths named on the command line.

    Attributes:
        paths: Files, folders, or "-" for a list of paths on stdin.
        lists: Files with lists of paths, or "-".
        selection: Rule that selects files in folders.
        column: Name of the column of paths in tables.
        null: Whether lists of paths are separated by NUL.
        uris: Whether paths may be URIs of object stores.
    """

    paths: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    column: str = "path"
    null: bool = False
    uris: bool = False

    def files(self, survey: Survey) -> Iterator[str]:
        """Yield the files to scan; `survey` records skipped files, and folders and lists without any."""
        files = expand(self._named(survey), self.selection, survey, uris=self.uris)
        return self._listed_uris(files, survey) if self.uris else files

    def repeatable(self) -> InputFiles:
        """Return the inputs without those that can be read only once."""
        paths = tuple(path for path in self.paths if path != STDIN)
        return replace(self, paths=paths, lists=tuple(name for name in self.lists if os.path.isfile(name)))

    def _listed_uris(self, files: Iterable[str], survey: Survey) -> Iterator[str]:
        for file in files:
            if is_uri(file):
                yield from list_uri(file, self.selection, survey)
            else:
                yield file

    def _named(self, survey: Survey) -> Iterator[str]:
        for path in dict.fromkeys(self.paths):
            if path == STDIN:
                yield from self._listed(path, survey)
            else:
                yield path
        for name in dict.fromkeys(self.lists):
            if name != STDIN or STDIN not in self.paths:  # stdin can be read only once
                yield from self._listed(name, survey)

    def _listed(self, name: str, survey: Survey) -> Iterator[str]:
        empty = True
        for path in paths_in(name, self.column, self.null):
            empty = False
            yield path
        if empty:
            survey.empty.append(f"no paths in the list {'on stdin' if name == STDIN else name}")

"""The request of a scan: its options, inputs and reports, made once and carried whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from hidascan.errors import UsageError
from hidascan.image.filesystems import list_uri
from hidascan.image.folders import Survey
from hidascan.image.path_lists import STDIN, paths_in
from hidascan.image.sources import Selection, expand, is_uri
from hidascan.options import ScanOptions
from hidascan.report.shards import Shards
from hidascan.runner_registry import RUNNERS


@dataclass(frozen=True, kw_only=True)
class InputFiles:
    """Paths and lists of paths named on the command line."""

    paths: tuple[str, ...] = ()  # files, folders, or "-" for a list of paths on stdin
    lists: tuple[str, ...] = ()  # files with lists of paths, or "-"
    selection: Selection = field(default_factory=Selection)  # criteria for files in folders
    column: str = "path"  # name of the column of paths in tables
    null: bool = False  # whether lists of paths are separated by NUL
    uris: bool = False  # whether paths may be URIs of object stores

    def files(self, survey: Survey) -> Iterator[str]:
        """Yield the files to scan; `survey` records skipped files, and folders and lists without any."""
        files = expand(self._named(survey), self.selection, survey, uris=self.uris)
        return self._listed_uris(files, survey) if self.uris else files

    def check_lists(self) -> None:
        """Read the start of each list that is a file: during the scan, reports have been emptied already.

        Raises:
            UsageError: If a list is missing or is not a list of paths.
        """
        for name in self.lists:
            if name != STDIN and not os.path.exists(name):
                raise UsageError(f"--files-from {name}: no such file or directory")
            if name != STDIN and os.path.isfile(name):
                next(paths_in(name, self.column, self.null), None)

    def folder(self) -> str:
        """Return the folder that relative paths start from; "" if all paths are absolute."""
        absolute = all(os.path.isabs(path) or is_uri(path) for path in self.paths)
        return "" if absolute and not self.lists else os.getcwd()

    def repeatable(self) -> InputFiles:
        """Return the inputs without those that can be read only once."""
        paths = tuple(path for path in self.paths if path != STDIN)
        return replace(self, paths=paths, lists=tuple(name for name in self.lists if os.path.isfile(name)))

    def _listed_uris(self, files: Iterable[str], survey: Survey) -> Iterator[str]:
        seen: set[str] = set()  # folders may overlap
        for file in files:
            for one in list_uri(file, self.selection, survey) if is_uri(file) else (file,):
                if one not in seen:
                    seen.add(one)
                    yield one

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


@dataclass(frozen=True, kw_only=True)
class Reports:
    """The reports to write."""

    files: tuple[tuple[str, str], ...] = ()  # report files, each with the name of its format; "-" is stdout
    shards: Shards | None = None  # None for none
    lines: bool = True  # whether to write a line or panel for each image to stdout
    line_format: str | None = None  # format of the lines on stdout; None for the default
    case: str | None = None  # name of the case, for HTML reports; None for none
    xmp: str | None = None  # folder for XMP sidecars; None for none
    heatmap: bool = False  # whether to draw heatmaps
    heatmap_raw: bool = False  # whether to write heatmaps as numbers
    heatmap_dir: str | None = None  # folder for heatmaps; None for the current folder
    quiet: bool = False  # whether to print no summary and no progress
    verbose: bool = False  # whether to show a panel for each image

    def __post_init__(self) -> None:
        """Check that stdout has one report at most, and that its lines can be formatted."""
        if sum(file == "-" for file, _ in self.files) > 1:
            raise UsageError("two reports cannot share stdout; write one of them to a file")
        if self.case is not None and all(name != "html" for _, name in self.files):
            raise UsageError("--case needs an HTML report: add --html FILE")
        if self.line_format is not None:
            from hidascan.report.terminal import FormattedLines

            FormattedLines(self.line_format)

    @property
    def has_heatmaps(self) -> bool:
        """Whether heatmaps are written."""
        return self.heatmap or self.heatmap_raw

    @property
    def uses_stdout(self) -> bool:
        """Whether anything is written to stdout while scanning."""
        return self.lines or any(file == "-" for file, _ in self.files)

    def folders(self) -> list[tuple[str, str]]:
        """Return the folders to write into, each with its option."""
        folders = [(self.xmp, "--xmp"), (self.heatmap_dir, "--heatmap-dir")]
        if self.shards is not None:
            folders.append((self.shards.folder, f"--{self.shards.form}"))
        return [(folder, option) for folder, option in folders if folder is not None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A scan and all that it reads and writes."""

    options: ScanOptions
    inputs: InputFiles
    reports: Reports
    runner: str = "local"  # name of the runner, one of RUNNERS
    ray_address: str | None = None  # address of a Ray cluster; None for RAY_ADDRESS or a cluster on this machine
    actors: int | None = None  # maximum number of networks in a cluster; None for as many as it has room for
    resume: bool = False  # whether to resume an interrupted scan
    strict: bool = False  # whether unreadable files take precedence over AI found in the exit code
    settings: tuple[str, ...] = ()  # files that set defaults

    def __post_init__(self) -> None:
        """Check options against each other."""
        if not RUNNERS[self.runner].cluster and (self.ray_address, self.actors) != (None, None):
            clusters = " or ".join(name for name, runner in RUNNERS.items() if runner.cluster)
            raise UsageError(f"--ray-address and --actors need --runner {clusters}")
        reports = self.reports
        if reports.has_heatmaps and (self.options.patches is not None or self.options.fast):
            raise UsageError("--heatmap cannot be combined with --patches or --fast: it needs every patch")
        if self.resume and reports.shards and any(file != "-" for file, _ in reports.files):
            raise UsageError("--resume continues either a folder of shards or files, not both")

    def other_inputs(self) -> list[str]:
        """Return the files that are read, but not scanned: lists of paths, weights, certificates and settings."""
        named = [self.options.weights, self.options.c2pa_trust, *self.inputs.lists, *self.settings]
        stdin = ["/dev/stdin"] if STDIN in (*self.inputs.paths, *self.inputs.lists) else []
        return [name for name in named if name is not None and name != STDIN] + stdin

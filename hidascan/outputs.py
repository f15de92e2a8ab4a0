"""Check the outputs of a scan before any is opened: none may replace an input or a foreign file."""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from collections.abc import Hashable, Iterator

from hidascan.errors import UsageError, reason_of
from hidascan.image.folders import Survey
from hidascan.image.formats import suffixes
from hidascan.image.sources import Selection
from hidascan.report import report_class, resume
from hidascan.report.reporter import TextReport, foreign_file_message
from hidascan.report.shards import check_folder
from hidascan.request import Request

_ANOTHER = "choose another name"


def check_outputs(request: Request) -> None:
    """Refuse a scan that would destroy a file.

    Raises:
        UsageError: If an output cannot be written, would replace an input or a foreign file, is named twice, or holds an
            interrupted scan that is not resumed.
    """
    reports, folders = request.reports, request.reports.folders()
    for folder, option in folders:
        _check_name(folder, option)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise UsageError(f"{option} {folder}: not a folder; {_ANOTHER}")
        if os.path.isdir(folder) and (reason := _refusal(folder)):
            raise UsageError(f"{option} {folder}: {reason}")
    if reports.has_heatmaps and reports.heatmap_dir is None and (reason := _refusal(".")):
        raise UsageError(f"the current folder, for heatmaps: {reason}; choose another one with --heatmap-dir")
    if reports.shards is not None:
        check_folder(reports.shards.folder, request.resume)
    files = [(file, name) for file, name in reports.files if file != "-"]
    for file, name in files:
        _check_name(file, f"--{name}")
        _check_place(file)
        if reports.shards is not None and _identity(os.path.dirname(file) or ".") == _identity(reports.shards.folder):
            raise UsageError(f"{file} is in the folder of --{reports.shards.form}; choose another folder")
    written = list(_written(files))
    _check_each_other(written, folders)
    _check_inputs(written, request)
    for file, name in files:
        _check_content(file, name, request.resume)


def _check_name(name: str, option: str) -> None:
    if os.path.splitext(name)[1].lower() in suffixes():
        raise UsageError(
            f"{option} {name}: the suffix is that of an image; give the name of the output after {option}, then the images"
        )


def _check_place(file: str) -> None:
    folder = os.path.dirname(os.path.realpath(file) if not os.path.exists(file) else file)
    if file.endswith(os.sep):
        raise UsageError(f"{file} names a folder; add a file name")
    if not os.path.exists(file) and os.path.islink(os.path.realpath(file)):
        raise UsageError(f"{file} is a symbolic link to itself; {_ANOTHER}")
    if folder and not os.path.isdir(folder):
        raise UsageError(f"{file}: no such file or directory: {folder}")
    if os.path.isdir(file):
        raise UsageError(f"{file} is a folder; {_ANOTHER}")
    if reason := _refusal(file if os.path.exists(file) else folder or "."):
        raise UsageError(f"{file}: {reason}")
    if os.path.exists(file) and stat.S_ISBLK(os.stat(file).st_mode):
        raise UsageError(f"{file} is a block device; {_ANOTHER}")


def _refusal(place: str) -> str:
    """Return the reason why a file, or the files of a folder, cannot be written; "" if they can."""
    if os.access(place, os.W_OK | os.X_OK if os.path.isdir(place) else os.W_OK):
        return ""
    read_only = hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY
    return "read-only file system" if read_only else "permission denied"


def _written(files: list[tuple[str, str]]) -> Iterator[str]:
    """Yield the files to be opened: reports, and marks of resumable reports."""
    for file, name in files:
        yield file
        if resume.has_mark(file, name):
            yield str(resume.mark_of(file))


def _check_each_other(written: list[str], folders: list[tuple[str, str]]) -> None:
    taken = {_identity(folder): folder for folder, _ in folders if not os.path.exists(folder)}
    for file in written:
        if file == os.devnull:
            continue
        identity = _identity(file)
        if identity in taken:
            twice = "is given twice" if file == taken[identity] else f"and {taken[identity]} are the same file"
            raise UsageError(f"{file} {twice}; {_ANOTHER} for one of them")
        if identity in _redirected():
            raise UsageError(f"{file} already receives stdout or stderr of this command; {_ANOTHER}")
        taken[identity] = file


def _check_inputs(written: list[str], request: Request) -> None:
    inputs = request.inputs.repeatable()
    files = [path for path in inputs.paths if not os.path.isdir(path)]
    folders = [path for path in inputs.paths if os.path.isdir(path)]
    read = {_identity(path) for path in files}
    needed = {_identity(path) for path in request.other_inputs()}
    for file in written:
        if _identity(file) in read or any(_is_in(file, folder, inputs.selection) for folder in folders):
            raise UsageError(f"{file} is one of the files to scan; {_ANOTHER} for the output")
        if _identity(file) in needed:
            raise UsageError(f"{file} is an input of this scan; {_ANOTHER} for the output")
    if _redirected() & (read | needed):
        raise UsageError("stdout or stderr is redirected to an input of this scan; redirect it to another file")
    there = {_identity(file): file for file in written if os.path.isfile(file)}
    for path in inputs.files(Survey()) if there else ():
        if (same := there.get(_identity(path))) is not None:
            raise UsageError(f"{same} is one of the files to scan, as {path}; {_ANOTHER} for the output")


def _is_in(file: str, folder: str, selection: Selection) -> bool:
    """Return whether a folder scan covers a file, or would cover it once written."""
    below = os.path.relpath(os.path.realpath(file), os.path.realpath(folder)).replace(os.sep, "/")
    *above, name = below.split("/")
    if above and (above[0] == ".." or not selection.recurse):
        return False
    if any(selection.excludes(one, "/".join(above[: at + 1])) for at, one in enumerate(above)):
        return False
    return selection.takes(name, below)


def _check_content(file: str, name: str, resuming: bool) -> None:
    recognises = getattr(report_class(name), "recognises", TextReport.recognises)
    if resume.has_mark(file, name):
        resume.check(file, name, resuming)
        if resuming and os.path.isfile(file) and resume.can_be_continued(file, name):
            return
    if os.path.isfile(file):
        try:
            head = resume.head_of(file)
        except OSError as error:
            raise UsageError(f"{file}: {reason_of(error)}") from None
        if head and not recognises(head):
            raise UsageError(foreign_file_message(file))


def _redirected() -> set[Hashable]:
    """Return the files that stdout and stderr are redirected to."""
    files: set[Hashable] = set()
    for stream in (sys.stdout, sys.stderr):
        try:
            info = os.fstat(stream.fileno())
        except (OSError, ValueError, AttributeError):  # closed, or no system stream
            continue
        if stat.S_ISREG(info.st_mode):
            files.add((info.st_dev, info.st_ino))
    return files


def _identity(path: str) -> Hashable:
    """Return a key that is equal for two names of one file; for a new file, its future path.

    The key ignores case and Unicode normalisation, as some file systems do.
    """
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return unicodedata.normalize("NFC", path if "\0" in path else os.path.realpath(path)).casefold()
    return info.st_dev, info.st_ino

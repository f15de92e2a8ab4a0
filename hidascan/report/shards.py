"""Findings in a folder of shards, part-000000.csv and so on, with a manifest once they are complete.

Each shard is written atomically, with rows in order of completion. `key` is the position of a file among the
inputs; sort by it to restore their order. During a scan, the mark .started.json holds the settings; the manifest replaces it.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hidascan import __version__
from hidascan.atomic import atomic_write
from hidascan.errors import UsageError
from hidascan.finding import COLUMNS, Finding, RunInfo
from hidascan.report.csv_report import csv_writer, guarded, unguarded
from hidascan.report.jsonl_report import json_row
from hidascan.report.reporter import lock, output_folder
from hidascan.report.resume import MARK_KEYS, EarlierResults, changed_settings, is_own, write_mark

Row = dict[str, Any]

_PATIENCE = 300.0  # seconds after which an incomplete shard is written
_NAME = re.compile(r"part-(\d{6,})\.(csv|jsonl|parquet)")
_INT_COLUMNS = ("width", "height", "patches", "jpeg_quality")
_FLOAT_COLUMNS = ("score", "jpeg_quality_estimated", "ai_area", "seconds")
MANIFEST = "manifest.json"
_STARTED = ".started.json"
_MANIFEST_KEYS = ("files", "verdicts", "shards", "scan")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A folder of shards in a format (csv, jsonl or parquet), with a number of rows per shard."""

    folder: str
    form: str
    rows: int = 1000

    def __post_init__(self) -> None:
        """Check that the format can be written."""
        if self.form == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise UsageError("--parquet needs pyarrow: pip install 'hidascan[ray]'")


class ShardWriter:
    """Collects rows, and writes a shard when it is full or after a time."""

    def __init__(self, folder: Path, form: str, rows: int):
        """Set up for shards of a format and of `rows` rows."""
        self._folder, self._form, self._most = folder, form, rows
        self._next = 1 + max((number for number, _ in _shards(folder)), default=-1)
        self._rows: list[Row] = []
        self._since = time.monotonic()

    def add(self, row: Row) -> None:
        """Add a row: `key` and the items of a row of JSON lines."""
        self._rows.append(row)
        if len(self._rows) >= self._most or time.monotonic() - self._since > _PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Write the collected rows, if any."""
        if self._rows:
            path = self._folder / f"part-{self._next:06d}.{self._form}"
            with atomic_write(path, replace=False) as partial:
                partial.write_bytes(_WRITERS[self._form](self._rows))
            self._next, self._rows = self._next + 1, []
        self._since = time.monotonic()


def shards_of(folder: Path) -> list[Path]:
    """Return the shards of a folder in order of writing."""
    return [path for _, path in sorted(_shards(folder))]


def read_shard(path: Path) -> Iterator[Row]:
    """Yield key, path, status, verdict and error of each row."""
    rows = _READERS[path.suffix[1:]](path)
    for row in rows:
        yield {name: row[name] for name in ("key", "path", "status", "verdict", "error")}


def _shards(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            yield int(match[1]), path


def _as_csv(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv_writer(text, ("key", *COLUMNS))
    writer.writeheader()
    writer.writerows({name: guarded(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _as_jsonl(rows: list[Row]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def _as_parquet(rows: list[Row]) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    kinds = dict.fromkeys(_INT_COLUMNS, pyarrow.int32()) | dict.fromkeys(_FLOAT_COLUMNS, pyarrow.float64())
    columns = {"key": pyarrow.array([row["key"] for row in rows], pyarrow.int64())}
    for name in COLUMNS:
        values = [_valid(row[name]) for row in rows]
        columns[name] = pyarrow.array(values, kinds.get(name, pyarrow.string()))
    columns["record"] = pyarrow.array([json.dumps(row) for row in rows], pyarrow.string())
    out = io.BytesIO()
    write_table(pyarrow.table(columns), out)
    return out.getvalue()


def _valid(value: Any) -> Any:
    """Return text as valid UTF-8, which Parquet requires; file names may contain any bytes."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file):
            values = {name: unguarded(text) or None for name, text in row.items()}
            yield values | {"key": int(row["key"]), "path": unguarded(row["path"])}


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow.parquet import read_table

    yield from map(json.loads, read_table(path, columns=["record"]).column(0).to_pylist())


_WRITERS: dict[str, Callable[[list[Row]], bytes]] = {"csv": _as_csv, "jsonl": _as_jsonl, "parquet": _as_parquet}
_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
    "parquet": _parquet_rows,
}


class ShardReport:
    """Rows in shards: the key of the file, and a row of JSON lines.

    Attributes:
        earlier: Results of the interrupted scan that is continued.
    """

    def __init__(self, shards: Shards, run: RunInfo, settings: Mapping[str, Any], resume: bool = False):
        """Open the folder; a scan is only continued with the same settings.

        Raises:
            UsageError: If the folder has rows and the scan is not resumed, or was started with other settings.
        """
        self._folder, self._run, self._started = Path(shards.folder), run, time.time()
        self._verdicts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        made_by = {**settings, "format": shards.form}
        del made_by["precision"]  # may differ between machines of a cluster; the rows have it
        check_folder(shards.folder, resume)
        existing, mark = shards_of(self._folder), self._folder / _STARTED
        if existing and (changed := changed_settings(mark, made_by)):
            raise UsageError(
                f"--resume: {self._folder} was written with a different {changed}; delete it to start over"
            )
        output_folder(shards.folder, f"--{shards.form}")
        self._check_running(mark)
        write_mark(mark, made_by)
        self._lock = mark.open("rb+")  # until the report is closed
        lock(self._lock)
        paths = set()
        for shard in existing:
            for row in read_shard(shard):
                self._count(row)
                paths.add(row["path"])
        self.earlier = EarlierResults(
            resuming=bool(paths),
            paths=paths,
            found_ai=self._verdicts["ai"] > 0,
            failed=self._errors.total() > 0,
        )
        self._writer = ShardWriter(self._folder, shards.form, shards.rows)

    def _check_running(self, mark: Path) -> None:
        """Raise UsageError if another scan is writing to the folder."""
        if mark.exists():
            with mark.open("rb+") as running:
                try:
                    lock(running)
                except UsageError:
                    raise UsageError(
                        f"{self._folder} is being written by another scan; choose another folder"
                    ) from None

    def add(self, finding: Finding) -> None:
        """Write a row, once its shard is full."""
        row = {"key": finding.key, **json_row(finding, self._run)}
        self._count(row)
        self._writer.add(row)

    def close(self) -> None:
        """Write the last shard."""
        try:
            self._writer.flush()
        finally:
            self._lock.close()

    def end(self) -> str:
        """Write the manifest, remove the mark, and return a summary line."""
        verdicts = {verdict: self._verdicts[verdict] for verdict in ("ai", "real", "inconclusive")}
        unreadable = self._errors.total()
        manifest = {
            "files": sum(verdicts.values()) + unreadable,
            "verdicts": verdicts,
            "errors": dict(self._errors.most_common()),
            "shards": [path.name for path in shards_of(self._folder)],
            "seconds": round(time.time() - self._started, 1),
            "scan": self._run.record(),
            "versions": {"hidascan": __version__, **dict(_versions()), "python": platform.python_version()},
        }
        with atomic_write(self._folder / MANIFEST) as partial:
            partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (self._folder / _STARTED).unlink(missing_ok=True)
        found = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
        return f"{manifest['files']:,} files: {found}, {unreadable:,} unreadable; {self._folder / MANIFEST}"

    def _count(self, row: Mapping[str, Any]) -> None:
        if row["status"] == "ok":
            self._verdicts[row["verdict"]] += 1
        else:
            kind = re.sub(r"'[^']*'", "'...'", row["error"] or "unknown")  # addresses and numbers differ between files
            self._errors[re.sub(r"\d+", "N", kind)] += 1


def check_folder(name: str, resume: bool) -> None:
    """Refuse a folder that contains another scan, or another program's file under a name that hidascan uses.

    Raises:
        UsageError: If the folder cannot be used.
    """
    folder = Path(name)
    for file, keys in ((_STARTED, MARK_KEYS), (MANIFEST, _MANIFEST_KEYS)):
        if os.path.lexists(folder / file) and not is_own(folder / file, keys):
            raise UsageError(f"{folder / file} exists and was not written by hidascan; choose another folder")
    if shards_of(folder) and not (folder / _STARTED).exists():
        raise UsageError(f"{folder} is a finished scan; choose another folder")
    if shards_of(folder) and not resume:
        raise UsageError(f"{folder} already contains shards; continue with --resume or choose another folder")


def _versions() -> Iterator[tuple[str, str]]:
    for package in ("ray", "torch"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue

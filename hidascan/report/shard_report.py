"""Findings in a folder of shards, with a manifest once they are complete.

During a scan, the mark .started.json in the folder holds the settings; the manifest replaces it at the end.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hidascan import __version__
from hidascan.atomic import written_whole
from hidascan.errors import UsageError
from hidascan.finding import Finding, RunInfo
from hidascan.report.jsonl_report import json_row
from hidascan.report.reporter import output_folder
from hidascan.report.resume import MARK_KEYS, EarlierResults, changed_settings, is_own, write_mark
from hidascan.report.shards import Shards, ShardWriter, read_shard, shards_of

MANIFEST = "manifest.json"
_STARTED = ".started.json"
_MANIFEST_KEYS = ("files", "verdicts", "shards", "scan")


class ShardReport:
    """Rows in shards: the key of the file, and a row of JSON lines.

    Attributes:
        earlier: Results of the interrupted scan that is continued.
    """

    def __init__(self, shards: Shards, run: RunInfo, resume: bool = False):
        """Open the folder.

        Raises:
            UsageError: If the folder has rows and the scan is not resumed, or was started with other settings.
        """
        self._folder, self._run, self._started = Path(shards.folder), run, time.time()
        self._verdicts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        made_by = {**run.fingerprint(), "format": shards.form}
        del made_by["precision"]  # may differ between machines of a cluster; the rows have it
        check_folder(shards.folder, resume)
        existing, mark = shards_of(self._folder), self._folder / _STARTED
        if existing and (changed := changed_settings(mark, made_by)):
            raise UsageError(f"--resume: {self._folder} was written with a different {changed}")
        output_folder(shards.folder, f"--{shards.form}")
        write_mark(mark, made_by)
        paths = set()
        for shard in existing:
            for row in read_shard(shard):
                self._count(row)
                paths.add(row["path"])
        self.earlier = EarlierResults(bool(paths), paths, self._verdicts["ai"] > 0, self._errors.total() > 0)
        self._writer = ShardWriter(self._folder, shards.form, shards.rows)

    def add(self, finding: Finding) -> None:
        """Write a row, once its shard is full."""
        row = {"key": finding.key, **json_row(finding, self._run)}
        self._count(row)
        self._writer.add(row)

    def close(self) -> None:
        """Write the last shard."""
        self._writer.flush()

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
        with written_whole(self._folder / MANIFEST) as partial:
            partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (self._folder / _STARTED).unlink(missing_ok=True)
        found = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
        return f"{manifest['files']:,} files: {found}, {unreadable:,} unreadable; {self._folder / MANIFEST}"

    def _count(self, row: Mapping[str, Any]) -> None:
        if row["status"] == "ok":
            self._verdicts[row["verdict"]] += 1
        else:
            self._errors[re.sub(r"\d+", "N", row["error"] or "unknown")] += 1  # numbers differ between files


def check_folder(name: str, resume: bool) -> None:
    """Refuse a folder that contains another scan, or another program's file under a name that hidascan uses.

    Raises:
        UsageError: If the folder cannot be used.
    """
    folder = Path(name)
    for file, keys in ((_STARTED, MARK_KEYS), (MANIFEST, _MANIFEST_KEYS)):
        if os.path.lexists(folder / file) and not is_own(folder / file, keys):
            raise UsageError(f"{folder / file} exists and was not written by hidascan; choose another folder")
    if shards_of(folder) and not resume:
        raise UsageError(f"{folder} already contains shards; continue with --resume or choose another folder")
    if shards_of(folder) and not (folder / _STARTED).exists():
        raise UsageError(f"{folder} is a finished scan; choose another folder")


def _versions() -> Iterator[tuple[str, str]]:
    for package in ("ray", "torch"):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue

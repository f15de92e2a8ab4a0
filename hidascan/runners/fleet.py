"""Run a scan on a Ray cluster: CPUs decode, actors with one network each scan, and rows are collected in one folder.

Ray Data schedules, throttles, retries and spills. Only this process writes rows, so that each input has exactly one
row even if workers crash: a repeated task yields its rows once.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import platform
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, Dataset

from hidascan import __version__
from hidascan.atomic import written_whole
from hidascan.detectors.weights import find_weights
from hidascan.errors import CheckpointError, ExitCode, FleetError, UsageError
from hidascan.image.filesystems import fetch
from hidascan.image.folders import Survey
from hidascan.image.sources import Unreadable, is_uri
from hidascan.options import ScanOptions
from hidascan.prepare import Job, Preparer
from hidascan.printable import complain
from hidascan.progress import ScanProgress
from hidascan.report.reporter import output_folder
from hidascan.report.shards import ShardWriter, read_shard, shards_of
from hidascan.runners.local import report_survey
from hidascan.scanner import Scanner

MANIFEST = "manifest.json"
_STARTED = ".started.json"  # settings of an unfinished scan
_STARTED_KEYS, _MANIFEST_KEYS = {"version", "weights", "detector"}, {"files", "verdicts", "shards", "scan"}
_PATHS_PER_BLOCK = 64  # for one decoding task
ROWS_PER_SHARD = 1000


@dataclass(frozen=True)
class FleetTask:
    """Task of the fleet.

    Attributes:
        paths: Files and URIs, folders already expanded.
        folder: Folder for shards.
        form: Format of the shards.
        address: Address of the cluster; None for RAY_ADDRESS or a cluster on this machine.
        actors: Maximum number of networks; None for one per GPU, or one per machine without GPUs.
        rows: Rows per shard.
        resume: Whether to continue an interrupted scan.
        strict: Whether unreadable files take precedence over AI found in the exit code.
        quiet: Whether to show no progress.
        survey: Summary of skipped files, complete once all files are known.
    """

    paths: Iterable[str]
    folder: Path
    form: str
    address: str | None = None
    actors: int | None = None
    rows: int = ROWS_PER_SHARD
    resume: bool = False
    strict: bool = False
    quiet: bool = False
    survey: Survey = field(default_factory=Survey)


@dataclass
class Tally:
    """Counts of verdicts and errors so far, including earlier runs."""

    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        """Count a row."""
        if row["status"] == "ok":
            self.verdicts[row["verdict"]] += 1
        else:
            self.errors[_kind(row["error"])] += 1

    def exit_code(self, strict: bool, nothing: bool = False) -> ExitCode:
        """Return the exit code of a scan.

        Args:
            strict: Whether unreadable files take precedence over AI found.
            nothing: Whether a folder or list had nothing to scan.
        """
        failed = bool(self.errors) or nothing
        if self.verdicts["ai"] and not (failed and strict):
            return ExitCode.AI_FOUND
        return ExitCode.UNREADABLE_FILES if failed else ExitCode.NOTHING_FOUND


def run_fleet(options: ScanOptions, task: FleetTask) -> ExitCode:
    """Scan on a cluster, and write shards and a manifest.

    Raises:
        UsageError: If there is no cluster, or the folder holds another scan.
    """
    options = replace(options, weights=str(find_weights(options.weights).resolve()))
    here = Scanner(replace(options, device="cpu"))
    tally, done = _begin(task, here)
    started, progress = time.time(), ScanProgress(hidden=task.quiet)
    writer = ShardWriter(task.folder, task.form, task.rows)
    with cluster(task.address):
        try:
            for row in rows_of(here, options, task, done):
                with progress.reporting():
                    if row["error"]:
                        complain(f"{row['path']}: {row['error']}")
                tally.add(row)
                writer.add(row)
        except ray.exceptions.RayError as error:
            raise FleetError(_cause(error)) from None
        finally:
            progress.close()
            writer.flush()
    _end(task, here, tally, time.time() - started)
    nothing = report_survey(task.survey, task.quiet)
    return tally.exit_code(task.strict, nothing)


def _cause(error: BaseException) -> str:
    """Return the last line of an error of Ray, which is the cause, without the class name."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"the fleet: {re.sub(r'^[a-z_.]+[.][A-Z][A-Za-z]+: ', '', lines[-1]) if lines else type(error).__name__}"


def _begin(task: FleetTask, scanner: Scanner) -> tuple[Tally, set[str]]:
    """Open the folder; return the counts of earlier runs, and the paths that already have a row.

    Raises:
        UsageError: If the folder has rows and the scan is not resumed, or was started with other settings.
    """
    made_by = {**scanner.run.fingerprint(), "format": task.form}
    del made_by["precision"]  # of this machine; the rows have that of the actors
    _check_own(task.folder)
    mark, shards, tally = task.folder / _STARTED, shards_of(task.folder), Tally()
    try:
        before = json.loads(mark.read_text(encoding="utf-8")) if mark.exists() else None
    except ValueError:
        before = {}
    if shards and not (task.resume and before is not None):
        if task.resume:
            raise UsageError(f"{task.folder} is a finished scan; choose another folder")
        raise UsageError(f"{task.folder} already contains shards; continue with --resume or choose another folder")
    changed = [key for key in made_by if shards and (before or {}).get(key) != made_by[key]]
    if changed:
        raise UsageError(f"--resume: {task.folder} was written with a different {', '.join(changed)}")
    output_folder(str(task.folder), f"--{task.form}")
    with written_whole(mark) as partial:
        partial.write_text(json.dumps(made_by), encoding="utf-8")
    done = set()
    for shard in shards:
        for row in read_shard(shard):
            tally.add(row)
            done.add(row["path"])
    return tally, done


def _check_own(folder: Path) -> None:
    """Refuse a folder in which another program owns the manifest or the mark.

    Raises:
        UsageError: If there is such a file.
    """
    for name, keys in ((_STARTED, _STARTED_KEYS), (MANIFEST, _MANIFEST_KEYS)):
        if os.path.lexists(folder / name) and not _is_own(folder / name, keys):
            raise UsageError(f"{folder / name} exists and was not written by hidascan; choose another folder")


def _is_own(path: Path, keys: set[str]) -> bool:
    try:
        text = path.read_bytes()
        return not text or keys <= json.loads(text).keys()
    except (OSError, ValueError, AttributeError):
        return False


def _end(task: FleetTask, scanner: Scanner, tally: Tally, seconds: float) -> None:
    """Write the manifest, remove the mark, and print a summary line."""
    verdicts = {verdict: tally.verdicts[verdict] for verdict in ("ai", "real", "inconclusive")}
    files = sum(verdicts.values()) + sum(tally.errors.values())
    manifest = {
        "files": files,
        "verdicts": verdicts,
        "errors": dict(tally.errors.most_common()),
        "shards": [path.name for path in shards_of(task.folder)],
        "seconds": round(seconds, 1),
        "scan": scanner.run.record(),
        "versions": {
            "hidascan": __version__,
            "ray": ray.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    with written_whole(task.folder / MANIFEST) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (task.folder / _STARTED).unlink(missing_ok=True)
    if not task.quiet:
        found = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
        print(f"{files:,} files: {found}, {sum(tally.errors.values()):,} unreadable; {task.folder / MANIFEST}")


def _kind(error: str | None) -> str:
    """Return an error message without numbers, which differ between files."""
    return re.sub(r"\d+", "N", error or "unknown")


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start a temporary one on this machine.

    Ray is silenced: it writes to stdout, and logs errors that it recovers from.

    Raises:
        UsageError: If there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no data leave the cluster
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of processes started here
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        _check_address(address)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            with _stderr_to(nowhere.fileno()):
                ray.init(address, log_to_driver=False, logging_level="CRITICAL", include_dashboard=False)
        except (ConnectionError, RuntimeError) as error:
            raise UsageError(f"cannot connect to a Ray cluster: {error}") from None
        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _stderr_to(descriptor: int) -> Iterator[None]:
    """Redirect the stderr of native code."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_address(address: str) -> None:
    """Try to connect to HOST:PORT, as Ray itself waits for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not port.isdigit():  # such as auto
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(f"--ray-address {address}: no cluster at this address ({error.strerror or error})") from None


def rows_of(here: Scanner, options: ScanOptions, task: FleetTask, done: set[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each path without one, in order of completion."""
    references = [ray.put(block) for block in blocks(task.paths, done)]
    if not references:
        return
    scanned = _pipeline(ray.data.from_arrow_refs(references), here, options, task.actors)
    for batch in scanned.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from (json.loads(text) for text in batch.column("row").to_pylist())


def _pipeline(paths: Dataset, here: Scanner, options: ScanOptions, actors: int | None) -> Dataset:
    """Decode on CPUs, then scan in actors: columns of `blocks` -> column "row"."""
    shares = allocate(ray.nodes(), options.device)
    decoded = paths.map_batches(
        decode,
        fn_args=(here.preparer, os.getcwd()),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.decoding_cpus,
    )
    return decoded.map_batches(
        ScanActor,
        fn_constructor_args=(options, here.run.digest, shares.threads),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.actor_cpus,
        num_gpus=shares.actor_gpus,
        compute=ActorPoolStrategy(min_size=1, max_size=actors or shares.actors),
    )


def blocks(paths: Iterable[str], done: set[str]) -> Iterator[Any]:
    """Yield tables of keys, paths, and reasons why a path is unreadable, "" if unknown.

    The key is the position among all inputs, the same in every run of a scan.
    """
    import pyarrow

    keys: list[int] = []
    names: list[bytes] = []
    reasons: list[str] = []
    for key, path in enumerate(paths):
        if path in done:
            continue
        keys.append(key)
        names.append(os.fsencode(path))
        reasons.append(path.reason if isinstance(path, Unreadable) else "")
        if len(keys) == _PATHS_PER_BLOCK:
            yield pyarrow.table({"key": keys, "path": names, "unreadable": reasons})
            keys, names, reasons = [], [], []
    if keys:
        yield pyarrow.table({"key": keys, "path": names, "unreadable": reasons})


@dataclass(frozen=True)
class Allocation:
    """Allocation of resources to networks and decoding tasks.

    Attributes:
        actors: Number of networks in the cluster.
        actor_gpus: GPUs per network.
        actor_cpus: CPU cores per network.
        threads: Threads per network on a CPU.
        decoding_cpus: CPU cores per decoding task.
    """

    actors: int
    actor_gpus: int
    actor_cpus: float
    threads: int
    decoding_cpus: float


def allocate(nodes: list[dict[str, Any]], device: str) -> Allocation:
    """Allocate a GPU to each actor; without GPUs, one actor per machine, and one core for decoding.

    Actors and decoding tasks never request equal resources, or Ray would fuse both into one task.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    gpus = 0 if device == "cpu" else int(sum(machine.get("GPU", 0) for machine in machines))
    if gpus:
        return Allocation(gpus, 1, 1, 1, 1)
    cores = int(min((machine["CPU"] for machine in machines), default=1))
    if cores < 2:
        return Allocation(max(1, len(machines)), 0, 0.5, 1, 0.25)
    return Allocation(len(machines), 0, cores - 1, cores, 0.5)  # two tasks share one core, as they mostly wait


def decode(block: Any, preparer: Preparer, base: str) -> Iterator[Any]:
    """Decode the images of a block and cut them into views: columns of `blocks` -> key, job; one table per image."""
    import pyarrow

    columns = (block.column(name).to_pylist() for name in ("key", "path", "unreadable"))
    for key, name, reason in zip(*columns, strict=True):
        path = os.fsdecode(name)
        prepared = preparer.file(Unreadable(path, reason)) if reason else _prepared(preparer, path, base)
        job = pickle.dumps(prepared, protocol=5)
        yield pyarrow.table({"key": [key], "job": pyarrow.array([job], pyarrow.large_binary())})


def _prepared(preparer: Preparer, path: str, base: str) -> Job:
    """Prepare a file whose relative path starts from `base`, the working folder of the scan."""
    if not is_uri(path):
        job = preparer.file(os.path.join(base, path))
        job.finding = replace(job.finding, path=path)
        return job
    return preparer.copied(path, fetch)


class ScanActor:
    """Actor with one network; Ray restarts it after a crash."""

    def __init__(self, options: ScanOptions, digest: str, threads: int):
        """Load the network.

        Raises:
            CheckpointError: If the weights on this machine differ from those of the scan.
        """
        torch.set_num_threads(threads)
        self._scanner = Scanner(options)
        if self._scanner.run.digest != digest:
            raise CheckpointError(f"{options.weights}: different weights on {platform.node()}")
        self._scan_record = self._scanner.run.record()

    def __call__(self, block: Any) -> Any:
        """Scan the jobs of a block, in full batches across images: columns key, job -> row (JSON)."""
        import pyarrow

        jobs = (pickle.loads(job.as_py()) for job in block.column("job"))
        findings = self._scanner.scan_jobs(jobs)
        rows = [
            json.dumps({"key": key, **finding.record(), "scan": self._scan_record})
            for key, finding in zip(block.column("key").to_pylist(), findings, strict=True)
        ]
        return pyarrow.table({"row": pyarrow.array(rows, pyarrow.string())})

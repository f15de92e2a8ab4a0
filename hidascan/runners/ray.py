"""Scan on a Ray cluster: CPUs decode, actors with one network each scan, and this process gets the rows.

Ray Data schedules, throttles, retries and spills. A repeated task yields its rows once, so that each input has exactly
one row even if workers crash. This process loads no network: a task in the cluster describes it.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import platform
import re
import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs

from hidascan.detectors import find_weights
from hidascan.errors import CheckpointError, ClusterError, HidascanError, UsageError, reason_of
from hidascan.finding import Finding, RunInfo
from hidascan.image.filesystems import fetch
from hidascan.image.sources import Unreadable, is_uri
from hidascan.options import ScanOptions
from hidascan.prepare import Job, Preparer
from hidascan.runners.loop import File, Run

_PATHS_PER_BLOCK = 64  # for one decoding task
Described = tuple[RunInfo, Preparer]  # configuration of a network, and what decodes images for it


def findings(options: ScanOptions, files: Iterable[File], run: Run) -> Generator[Finding, None, None]:
    """Yield the Finding of each file, in order of completion.

    Raises:
        UsageError: If there is no cluster.
        ClusterError: If Ray gives up.
    """
    weights, trust = find_weights(options.weights).resolve(), options.c2pa_trust
    options = replace(options, weights=str(weights), c2pa_trust=trust and os.path.abspath(trust))
    with cluster(run.request.ray_address):
        try:
            described = ray.get(ray.remote(describe).remote(options))
            run.begin(described[0])
            yield from scanned(files, options, described, run.request.actors)
        except ray.exceptions.RayError as error:
            raise _cause(error) from None


def describe(options: ScanOptions) -> Described:
    """Load the network, and return its configuration, and what decodes images for it."""
    from hidascan.scanner import Scanner

    scanner = Scanner(replace(options, device="cpu"))
    return scanner.info, scanner.preparer


def _cause(error: BaseException) -> HidascanError:
    """Return the hidascan error that stopped Ray; else an error with the last line of Ray's message, the cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, HidascanError):
        return cause
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = re.sub(r"^[a-z_.]+[.][A-Z][A-Za-z]+: ", "", lines[-1]) if lines else type(error).__name__
    return ClusterError(f"Ray stopped the scan: {reason}")


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
        raise UsageError(f"--ray-address {address}: no cluster at this address ({reason_of(error)})") from None


def scanned(files: Iterable[File], options: ScanOptions, described: Described, actors: int | None) -> Iterator[Finding]:
    """Decode files on CPUs, scan them in at most `actors` actors, and yield findings in order of completion."""
    references = [ray.put(block) for block in blocks(files)]
    if not references:
        return
    info, preparer = described
    shares = allocate(ray.nodes(), options.device)
    decoded = from_arrow_refs(references).map_batches(
        decode,
        fn_args=(preparer, os.getcwd()),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.decoding_cpus,
    )
    rows = decoded.map_batches(
        ScanActor,
        fn_constructor_args=(options, info.digest, shares.threads),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=shares.actor_cpus,
        num_gpus=shares.actor_gpus,
        compute=ActorPoolStrategy(min_size=1, max_size=actors or shares.actors),
    )
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.column("row").to_pylist():
            yield Finding.from_record(json.loads(row))


def blocks(files: Iterable[File]) -> Iterator[Any]:
    """Yield tables of keys, paths, and reasons why a path is unreadable, "" if unknown."""
    import pyarrow

    files = iter(files)
    while block := list(islice(files, _PATHS_PER_BLOCK)):
        reasons = [path.reason if isinstance(path, Unreadable) else "" for _, path in block]
        columns = {"key": [key for key, _ in block], "path": [os.fsencode(path) for _, path in block]}
        yield pyarrow.table({**columns, "unreadable": reasons})


@dataclass(frozen=True)
class Allocation:
    """Allocation of resources to networks and decoding tasks."""

    actors: int  # networks in the cluster
    actor_gpus: int  # per network
    actor_cpus: float  # cores per network
    threads: int  # per network on a CPU
    decoding_cpus: float  # cores per decoding task


def allocate(nodes: list[dict[str, Any]], device: str) -> Allocation:
    """Allocate a GPU to each actor; without GPUs, one actor per machine, and one core for decoding.

    Actors and decoding tasks never request equal resources, or Ray would fuse both into one task.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    gpus = 0 if device == "cpu" else int(sum(machine.get("GPU", 0) for machine in machines))
    if gpus:
        return Allocation(actors=gpus, actor_gpus=1, actor_cpus=1, threads=1, decoding_cpus=1)
    cores = int(min((machine["CPU"] for machine in machines), default=1))
    if cores < 2:
        return Allocation(actors=max(1, len(machines)), actor_gpus=0, actor_cpus=0.5, threads=1, decoding_cpus=0.25)
    # Two decoding tasks share one core, as they mostly wait.
    return Allocation(actors=len(machines), actor_gpus=0, actor_cpus=cores - 1, threads=cores, decoding_cpus=0.5)


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
        import torch

        from hidascan.scanner import Scanner

        torch.set_num_threads(threads)
        self._scanner = Scanner(options)
        if self._scanner.info.digest != digest:
            raise CheckpointError(f"{options.weights}: different weights on {platform.node()}")
        self._scan_record = self._scanner.info.record()

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

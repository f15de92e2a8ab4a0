"""Runners of a scan, by the name of `--runner`; and the simplest one, on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hidascan.finding import Finding
    from hidascan.options import ScanOptions
    from hidascan.runners.loop import File, Run


class Runner(NamedTuple):
    """A function, `findings(options, files, run)`, that yields the Findings of a scan; all else is in `loop`.

    It calls `run.begin` with the configuration of its scanners, before it takes the first of `files`, which are pairs
    of key and path; a path may be an `Unreadable`, a str with a reason, which a text format would lose. Each Finding
    carries the key of its file, and may come in any order. A raised HidascanError ends the scan with one line. After
    `begin`, it may call `run.progress.on_batch` with the number of views that were finished since the last call, for the
    progress bar.

    If the loop ends early (Ctrl-C, a full disk, a closed pipe), it closes the generator, which then ends at its `yield`:
    a `with` or `finally` around it can release a cluster.

    Attributes:
        function: Module and name of the function, "module:function".
        cluster: Whether it distributes the work: paths may be URIs, and shards are the only report.
    """

    function: str
    cluster: bool = False


RUNNERS = {
    "local": Runner("hidascan.runners:findings"),
    "ray": Runner("hidascan.runners.ray:findings", cluster=True),
}


def findings(options: ScanOptions, files: Iterable[File], run: Run) -> Generator[Finding, None, None]:
    """Scan on this machine: yield the Finding of each file, in order."""
    from hidascan.image.isolation import decoders

    decoders()  # the first one starts while torch is imported
    from hidascan.scanner import Scanner

    scanner, keys = Scanner(options), deque[int]()

    def paths() -> Iterator[str]:
        for key, path in files:
            keys.append(key)
            yield path

    run.begin(scanner.info)
    for finding in scanner.scan_files(paths(), run.progress.on_batch):
        yield replace(finding, key=keys.popleft())

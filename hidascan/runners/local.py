"""Run a scan on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hidascan.finding import Finding
    from hidascan.options import ScanOptions
    from hidascan.runners.loop import File, Run


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

"""Runners of a scan, by the name of `--runner`."""

from __future__ import annotations

from typing import NamedTuple


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
        cluster: Whether the runner distributes the work. If so, paths may be URIs, and shards are the only report.
    """

    function: str
    cluster: bool = False


RUNNERS = {
    "local": Runner("hidascan.runners.local:findings"),
    "ray": Runner("hidascan.runners.ray:findings", cluster=True),
}

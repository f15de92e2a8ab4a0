"""A service of its own for a benchmark or a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_service(*options: object, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `hidascan serve` on a free port; yield its address and its process, which is killed at the end.

    Args:
        options: Options of `hidascan serve`.
        variables: Environment variables in addition to those of this process.
    """
    command = [sys.executable, "-m", "hidascan.cli", "serve", "--port", "0", *map(str, options)]
    environment = os.environ | variables
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stderr.readline()
            assert "http://127.0.0.1:" in line, line
            yield "http://127.0.0.1:" + line.split("127.0.0.1:")[1].split("/")[0], process
        finally:
            process.kill()

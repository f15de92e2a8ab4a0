"""Memory of a process and of its children, from Linux's /proc."""

from __future__ import annotations

from pathlib import Path


def tree_memory(pid: int) -> int:
    """Return megabytes; shared pages are divided among the processes that share them. 0 if the process has ended."""
    return sum(_pss(one) for one in (pid, *_children(pid))) // 1024


def peak_resident(pid: int) -> int:
    """Return the largest resident size of a process so far, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


def _children(pid: int) -> list[int]:
    try:
        tasks = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for children in tasks for child in children]


def _pss(pid: int) -> int:
    """Return the proportional set size, kB."""
    try:
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0])
    except (OSError, IndexError):
        return 0

"""Unfinished outputs: what a scan that was killed had written whole, and whether this one may go on with it.

While a scan runs, FILE.unfinished beside each output says how it is made; a scan that ends removes it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hidascan.errors import UsageError
from hidascan.finding import COLUMNS
from hidascan.report.csv_report import as_it_was

_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


@dataclass(frozen=True)
class Finished:
    """What earlier runs did. anything: there are outputs to go on with. paths: with a whole row in every output. found: one of them was ai. failed: one could not
    be read."""

    anything: bool = False
    paths: set[str] = field(default_factory=set)
    found: bool = False
    failed: bool = False


def begin(outputs: list[str], made_by: dict, resume: bool) -> Finished:
    """Mark the outputs as unfinished. With `resume`, cut them back to the rows that all of them have whole.

    Raises UsageError if an output is to be gone on with that is finished, or was made by other weights or options.
    """
    outputs = [output for output in outputs if _can_be_resumed(output)]
    kept = [_unfinished(output, made_by) for output in outputs] if resume else []
    for output in outputs:
        with suppress(OSError):  # a folder that takes no more files: then this scan cannot be gone on with
            _mark(output).write_text(json.dumps(made_by), encoding="utf-8")
    if not kept or any(rows is None for rows in kept):
        return Finished()
    count = min(len(rows) for rows in kept)
    for output, rows in zip(outputs, kept, strict=True):
        os.truncate(output, rows[count - 1][1] if count else 0)
    whole = [row for row, _ in kept[0][:count]]
    return Finished(
        True,
        {row["path"] for row in whole},
        any(row["verdict"] == "ai" for row in whole),
        any(row["status"] != "ok" for row in whole),
    )


def end(outputs: list[str]) -> None:
    """The scan is over: the outputs are whole."""
    for output in outputs:
        if _can_be_resumed(output):
            _mark(output).unlink(missing_ok=True)


def _can_be_resumed(output: str) -> bool:
    """Regular files can, pipes and devices not."""
    return output != "-" and (os.path.isfile(output) or not os.path.exists(output))


def _mark(output: str) -> Path:
    return Path(f"{output}.unfinished")


def _unfinished(output: str, made_by: dict) -> list[tuple[dict, int]] | None:
    """The whole rows of an output, each with the byte where it ends; None if there is no output yet."""
    if not os.path.exists(output):
        return None
    try:
        before = json.loads(_mark(output).read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"--resume: {output} is no unfinished scan; remove it to scan anew") from None
    except ValueError:
        before = {}
    changed = [name for name in made_by if before.get(name) != made_by[name]]
    if changed:
        raise UsageError(f"--resume: {output} was made with other {', '.join(changed)}; remove it to scan anew")
    return list(_csv_rows(output) if _is_csv(output) else _json_rows(output))


def _is_csv(output: str) -> bool:
    with open(output, **_ENCODING) as file:
        return file.read(4) in ("path", "")


def _json_rows(output: str) -> Iterator[tuple[dict, int]]:
    end = 0
    with open(output, "rb") as file:
        for line in file:
            end += len(line)
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                return
            if not isinstance(row, dict) or not {*COLUMNS} <= row.keys():
                return
            yield row, end


def _csv_rows(output: str) -> Iterator[tuple[dict, int]]:
    """A row may go over several lines, as a name may; of the last one, part may be missing."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        with open(output, **_ENCODING) as file:
            for line in file:
                end += len(line.encode("utf-8", "surrogateescape"))
                yield line if line.endswith("\n") else ""

    for number, cells in enumerate(csv.reader(lines())):
        if len(cells) != len(COLUMNS):
            return
        if number:
            row = dict(zip(COLUMNS, cells, strict=True))
            yield row | {"path": as_it_was(row["path"])}, end

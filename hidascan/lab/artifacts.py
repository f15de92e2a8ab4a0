"""Artifacts of training and results of scans: stored at once, tied to their inputs, reused by an interrupted run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from hidascan.atomic import atomic_write
from hidascan.errors import RecipeError
from hidascan.image.identity import file_state

_KEY = "made_by"
_MARK = "made_by.json"


@dataclass(frozen=True)
class Workspace:
    """Cache folder, device and precision of a training or a measurement."""

    cache: Path
    device: torch.device
    dtype: torch.dtype


def fingerprint(**what: Any) -> str:
    """Return a digest of all inputs of an artifact: dataclasses, numbers, texts, and lists of these."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=dataclasses.asdict).encode()).hexdigest()


def claim_folder(folder: Path, made_by: str) -> None:
    """Create a folder for artifacts of one fingerprint, or check an existing one.

    Raises:
        RecipeError: If the folder has another fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _MARK
    if mark.exists():
        if json.loads(mark.read_text())[_KEY] != made_by:
            raise RecipeError(
                f"{folder}: made from other settings, tables or backbone; delete it, or choose another folder with --cache"
            )
        return
    with atomic_write(mark) as partial:
        partial.write_text(json.dumps({_KEY: made_by}))


def save_artifact(path: Path, tensors: dict[str, Tensor], made_by: str = "", **more: str) -> None:
    """Write tensors atomically, with the fingerprint of their inputs and additional metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(tensors, partial, {_KEY: made_by, **more})


def load_artifact(path: Path, made_by: str) -> dict[str, Tensor] | None:
    """Read tensors with a fingerprint; None if missing, or if the fingerprint differs."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get(_KEY) != made_by:
                return None
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def missing_shards(folder: Path, count: int, size: int, what: str, prefix: str = "") -> Iterator[tuple[Path, range]]:
    """Yield the path and the item numbers of each shard that a folder lacks, of `count` items in shards of `size`.

    If the caller saves each shard atomically before it takes the next, an interrupted run resumes after its last shard.
    """
    for first in tqdm(range(0, count, size), desc=what, disable=None):
        path = folder / f"{prefix}{first:06d}.safetensors"
        if not path.exists():
            yield path, range(first, min(first + size, count))


def read_shards(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """Read all shards of a folder, joined in the order of their items; a shard may be empty.

    Raises:
        RecipeError: If there are no shards, or all are empty.
    """
    shards = [shard for path in sorted(folder.glob(f"{prefix}[0-9]*.safetensors")) if (shard := load_file(path))]
    if not shards:
        raise RecipeError(f"{folder}: no image of the tables is readable and large enough")
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


class ResultFile:
    """Results by path, appended as JSON lines; `known` is the row of each path."""

    def __init__(self, path: Path | None, run: str):
        """Open the file, None to store nothing; `run` is a key of weights and format, as it may hold several runs."""
        self._path, self._run = path, run
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        rows = [row for line in lines if (row := _parsed(line)).get("run") == run]
        rows = [row for row in rows if row.get("file") == file_state(row["path"])]  # of a file that was replaced since
        self.known: dict[str, dict[str, Any]] = {row["path"]: row for row in rows}

    def add(self, path: str, **results: Any) -> None:
        """Store the results of a file."""
        self.known[path] = {"run": self._run, "path": path, "file": file_state(path), **results}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.known[path]) + "\n")


def _parsed(line: str) -> dict[str, Any]:
    """Parse a line; return nothing if it was truncated by a kill."""
    try:
        return json.loads(line)
    except ValueError:
        return {}
